"""A node with a load generator beside it, for `bench.py`: takes orders as JSON lines on standard
input and answers each with a JSON line.

    {"op": "status"}                                    role, term, leader, applied
    {"op": "serial", "n": 500}                          one write after the other: latencies
    {"op": "pipe", "n": 100000, "window": 1000}         so many at a time: writes per second
    {"op": "probe"} ... {"op": "probed", "since": t}    a write every 10 ms, and its times
    {"op": "unprobe"}                                   no more of that
    {"op": "cut", "to": [...], "from": [...]}           links that carry nothing any more

The arguments are those of `python -m node.process`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import Any

import uvloop

from node import settings as node_settings
from node.links.transport import LinkFaults, Transport
from node.process import run
from node.runtime import Runtime
from protocol.errors import QuorateError
from protocol.identity import NodeId
from protocol.registers import Command, Verb

VALUE = b"x" * 32


class Generator:
    """Load for one node."""

    def __init__(self, runtime: Runtime, transport: Transport) -> None:
        self.runtime = runtime
        self.transport = transport
        self._probing: asyncio.Task[None] | None = None
        self._probed: list[tuple[float, float]] = []

    async def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        match order["op"]:
            case "status":
                return self._status()
            case "serial":
                return await self._serial(order["n"])
            case "pipe":
                return await self._pipe(order["n"], order["window"])
            case "probe":
                self._probed.clear()
                self._probing = asyncio.create_task(self._probe(order.get("every_s", 0.01)))
                return {}
            case "probed":
                return {"ok": [pair for pair in self._probed if pair[0] > order["since"]]}
            case "unprobe":
                assert self._probing is not None
                self._probing.cancel()
                return {}
            case "cut":
                self.transport.set_faults(
                    LinkFaults(
                        drop_to=frozenset(map(NodeId, order["to"])),
                        drop_from=frozenset(map(NodeId, order["from"])),
                    )
                )
                return {}
        raise ValueError(order)

    def _status(self) -> dict[str, Any]:
        peer = self.runtime.peer
        status = peer.status()
        return {
            "node": peer.node,
            "name": peer.settings.name,
            "role": status.role,
            "term": status.term,
            "leader": status.leader,
            "voters": status.voters,
            "outgoing": status.outgoing,
            "applied": peer.ledger.applied,
            "alive": len(peer.membership.alive()),
            "revision": peer.registers.revision,
        }

    async def _serial(self, count: int) -> dict[str, Any]:
        times = []
        for number in range(count):
            begun = time.perf_counter()
            await self.runtime.command(Command(Verb.PUT, f"s{number % 100}", VALUE))
            times.append(time.perf_counter() - begun)
        times.sort()
        return {
            "p50_ms": times[len(times) // 2] * 1e3,
            "p99_ms": times[len(times) * 99 // 100] * 1e3,
        }

    async def _pipe(self, count: int, window: int) -> dict[str, Any]:
        """Keep `window` writes under way until `count` are done."""
        done = asyncio.get_running_loop().create_future()
        before = self.runtime.peer.registers.revision
        sent = confirmed = failed = 0
        command = self.runtime.command

        def ended(future: asyncio.Future[int]) -> None:
            nonlocal sent, confirmed, failed
            if future.exception() is None and future.result() > 0:
                confirmed += 1
            else:
                failed += 1
            if sent < count:
                sent += 1
                command(Command(Verb.PUT, f"k{sent % 1000}", VALUE)).add_done_callback(ended)
            elif confirmed + failed == count:
                done.set_result(None)

        begun = time.perf_counter()
        for _ in range(window):
            sent += 1
            command(Command(Verb.PUT, f"k{sent % 1000}", VALUE)).add_done_callback(ended)
        await done
        seconds = time.perf_counter() - begun
        revisions = self.runtime.peer.registers.revision - before
        return {
            "ops_s": confirmed / seconds,
            "confirmed": confirmed,
            "failed": failed,
            "applied": revisions,
        }

    async def _probe(self, every_s: float) -> None:
        def note(begun: float, future: asyncio.Future[int]) -> None:
            if future.exception() is None and future.result() > 0:
                self._probed.append((begun, time.time()))

        while True:
            begun = time.time()
            future = self.runtime.command(Command(Verb.PUT, "probe", VALUE))
            future.add_done_callback(lambda future, begun=begun: note(begun, future))
            await asyncio.sleep(every_s)


async def serve(runtime: Runtime, transport: Transport) -> None:
    """Obey until standard input ends."""
    generator = Generator(runtime, transport)
    reader = asyncio.StreamReader(limit=2**24)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while line := await reader.readline():
        try:
            answer = await generator.obey(json.loads(line))
        except QuorateError as fault:
            answer = {"error": repr(fault)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    chosen = node_settings.from_arguments(sys.argv[1:])
    profile = os.environ.get("BENCH_PROFILE")
    if profile:
        import cProfile

        profiler = cProfile.Profile()
        profiler.enable()
        code = uvloop.run(run(chosen, serve))
        profiler.disable()
        profiler.dump_stats(f"{profile}.{chosen.name}")
        sys.exit(code)
    sys.exit(uvloop.run(run(chosen, serve)))
