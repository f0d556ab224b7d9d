"""One PySyncObj server with a load generator, for `bench.py`: orders as JSON lines on stdin.

    python bench_pysyncobj.py HOST:PORT OTHER:PORT,OTHER:PORT

Takes the orders of `bench_node.py`, but cut. PySyncObj as it comes: no journal, no fsync, batching
on.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Any

from pysyncobj import SyncObj, SyncObjConf, replicated

VALUE = "x" * 32
PIPE_TIMEOUT_S = 30.0


class Store(SyncObj):  # type: ignore[misc]
    def __init__(self, own: str, others: list[str]) -> None:
        super().__init__(own, others, SyncObjConf(bindAddress=own))
        self.values: dict[str, Any] = {}

    @replicated  # type: ignore[untyped-decorator]
    def put(self, key: str, value: Any) -> int:
        self.values[key] = value
        return len(self.values)


class Generator:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.probing = False
        self.probed: list[tuple[float, float]] = []

    def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        match order["op"]:
            case "status":
                leader = self.store._getLeader()
                return {
                    "leads": self.store._isLeader(),
                    "leader": leader.id if leader else "",
                    "ready": self.store.isReady(),
                }
            case "serial":
                return self.serial(order["n"])
            case "pipe":
                return self.pipe(order["n"], order["window"])
            case "probe":
                self.probing = True
                self.probed.clear()
                threading.Thread(target=self.probe, daemon=True).start()
                return {}
            case "probed":
                return {"ok": [pair for pair in list(self.probed) if pair[0] > order["since"]]}
            case "unprobe":
                self.probing = False
                return {}
        raise ValueError(order)

    def serial(self, count: int) -> dict[str, Any]:
        times = []
        for number in range(count):
            begun = time.perf_counter()
            self.store.put(f"s{number % 100}", VALUE, sync=True, timeout=5)
            times.append(time.perf_counter() - begun)
        times.sort()
        return {
            "p50_ms": times[len(times) // 2] * 1e3,
            "p99_ms": times[len(times) * 99 // 100] * 1e3,
        }

    def pipe(self, count: int, window: int) -> dict[str, Any]:
        lock = threading.Lock()
        done = threading.Event()
        state = {"sent": 0, "confirmed": 0, "failed": 0}

        def ended(_result: Any, error: Any) -> None:
            with lock:
                state["failed" if error else "confirmed"] += 1
                more = state["sent"] < count
                state["sent"] += more
                number = state["sent"]
                if state["confirmed"] + state["failed"] >= count:
                    done.set()
            if more:
                self.store.put(f"k{number % 1000}", VALUE, callback=ended)

        begun = time.perf_counter()
        for _ in range(window):
            with lock:
                state["sent"] += 1
                number = state["sent"]
            self.store.put(f"k{number % 1000}", VALUE, callback=ended)
        done.wait(PIPE_TIMEOUT_S)
        seconds = time.perf_counter() - begun
        confirmed = state["confirmed"]
        lost = count - confirmed - state["failed"]  # nobody was ever told
        return {"ops_s": confirmed / seconds, "confirmed": confirmed, "failed": lost}

    def probe(self) -> None:
        while self.probing:
            begun = time.time()

            def ended(_result: Any, error: Any, begun: float = begun) -> None:
                if not error:
                    self.probed.append((begun, time.time()))

            self.store.put("probe", VALUE, callback=ended)
            time.sleep(0.01)


def main() -> None:
    own, others = sys.argv[1], sys.argv[2].split(",")
    generator = Generator(Store(own, others))
    for line in sys.stdin:
        try:
            answer = generator.obey(json.loads(line))
        except Exception as fault:  # whatever it raises, the bench has to hear of it
            answer = {"error": repr(fault)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
