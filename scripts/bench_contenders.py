"""Teams of three voters on loopback, each of which does the same work: Quorate, etcd, PySyncObj.

Every one offers the same calls, so that one function measures all of them in one run. etcd is
Debian's `etcd-server`, spoken to from Python by gRPC and by its HTTP gateway; PySyncObj is the
package of that name. Who is not installed is left out, and said to be.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import importlib.util
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import msgpack

VOTERS = 3
HERE = Path(__file__).parent
READY_S = 30.0
VALUE = b"x" * 32
ETCD_PUT = "/etcdserverpb.KV/Put"
CHANNELS = 8
PORTS = range(20_000, 32_000)


class NotInstalled(Exception):
    """What is missing."""


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on just now, and that the system gives to no outgoing connection
    either: a node that is started again needs its own."""
    ports: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as trial, contextlib.suppress(OSError):
            trial.bind(("127.0.0.1", port))
            ports.append(port)
        if len(ports) == count:
            return ports
    raise SystemExit(f"fewer than {count} ports are free")


class Told:
    """A process that obeys JSON lines."""

    def __init__(self, arguments: Sequence[str], env: dict[str, str] | None = None) -> None:
        self._complaints = tempfile.TemporaryFile("w+")  # noqa: SIM115 - `_end` closes it
        self.process = subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            text=True,
            bufsize=1,
            env={**os.environ, **(env or {})},
        )

    def tell(self, **order: Any) -> dict[str, Any]:
        """Give an order and wait for its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        while line := self.process.stdout.readline():
            if line.startswith("{"):
                answer: dict[str, Any] = json.loads(line)
                return answer
        self._complaints.seek(0)
        said = self._complaints.read()[-2000:]
        raise SystemExit(f"a process ended while it was told {order}: {said}")

    def kill(self) -> None:
        """At once, as a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self._end()

    def _end(self) -> None:
        self.process.wait()
        self._complaints.close()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self._end()


class Contender(ABC):
    """Three voters. `leader` and `follower` are numbers."""

    name = ""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="quorate-bench-", dir=HERE.parent))
        self.leader = 0

    @property
    def follower(self) -> int:
        return (self.leader + 1) % VOTERS

    @abstractmethod
    def start(self) -> None:
        """Start, and wait until one leads and all follow."""

    @abstractmethod
    def serial(self, node: int, count: int) -> dict[str, float]:
        """One write after the other through a node: p50_ms, p99_ms."""

    @abstractmethod
    def pipe(self, node: int, count: int, window: int) -> dict[str, float]:
        """So many writes with so many under way: ops_s, and how many were never confirmed."""

    @abstractmethod
    def fail_over(self) -> float:
        """Kill the leader: seconds until the first write through another node is confirmed. The
        killed one is started again."""

    def stop(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def await_leader(self, leads: Callable[[], int | None]) -> None:
        until = time.monotonic() + READY_S
        while (leader := leads()) is None:
            if time.monotonic() > until:
                raise SystemExit(f"{self.name} found no leader within {READY_S:g} s")
            time.sleep(0.05)
        self.leader = leader


class Obedient(Contender):
    """A contender whose load generators are inside its nodes."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes: list[Told] = []

    @abstractmethod
    def launch(self, number: int) -> Told: ...

    @abstractmethod
    def leads(self) -> int | None: ...

    def start(self) -> None:
        self.nodes = [self.launch(number) for number in range(VOTERS)]
        self.await_leader(self.leads)

    def serial(self, node: int, count: int) -> dict[str, float]:
        return self.nodes[node].tell(op="serial", n=count)

    def pipe(self, node: int, count: int, window: int) -> dict[str, float]:
        return self.nodes[node].tell(op="pipe", n=count, window=window)

    def fail_over(self) -> float:
        self.await_leader(self.leads)
        living = [node for at, node in enumerate(self.nodes) if at != self.leader]
        for node in living:
            node.tell(op="probe")
        time.sleep(0.5)
        killed_at = time.time()
        self.nodes[self.leader].kill()
        confirmed: list[float] = []
        while not confirmed and time.time() < killed_at + 20:
            for node in living:
                confirmed += [at for _, at in node.tell(op="probed", since=killed_at)["ok"]]
            time.sleep(0.002)
        for node in living:
            node.tell(op="unprobe")
        self.nodes[self.leader] = self.launch(self.leader)
        self.await_leader(self.leads)
        return min(confirmed) - killed_at

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()
        super().stop()


class Quorate(Obedient):
    name = "Quorate"

    def __init__(self) -> None:
        super().__init__()
        self.ports = free_ports(2 * VOTERS)
        self.token = "benchmark-token-of-no-value"

    def launch(self, number: int) -> Told:
        at = self.ports[number]
        known = (self.folder / f"n{number}" / "journal.db").exists()
        first = number == 0 and not known
        seeds = [port for port in self.ports[:VOTERS] if port != at]
        return Told(
            [
                sys.executable,
                str(HERE / "bench_node.py"),
                *("--name", f"n{number}"),
                *("--data-dir", str(self.folder / f"n{number}")),
                *("--listen", f"127.0.0.1:{at}"),
                *("--door", f"127.0.0.1:{self.ports[VOTERS + number]}"),
                *("--expect", str(VOTERS)),
                *("--preset", "local"),
                *(["--found"] if first else []),
                *[word for seed in seeds for word in ("--join", f"127.0.0.1:{seed}")],
                "--allow-faults",
            ],
            {"QUORATE_SECRET": "0123456789abcdef-benchmark", "QUORATE_TOKEN": self.token},
        )

    def term(self) -> int:
        """The latest that any node knows."""
        return max(node.tell(op="status")["term"] for node in self.nodes)

    def door(self, number: int) -> int:
        """The port of a node's client door."""
        return self.ports[VOTERS + number]

    def leads(self) -> int | None:
        states = [node.tell(op="status") for node in self.nodes]
        leading = [at for at, state in enumerate(states) if state["role"] == "leader"]
        if len(leading) != 1:
            return None
        agreed = all(
            len(state["voters"]) == VOTERS
            and not state["outgoing"]
            and state["leader"] == states[leading[0]]["node"]
            for state in states
        )
        return leading[0] if agreed else None


class PySyncObj(Obedient):
    name = "PySyncObj"

    def __init__(self) -> None:
        if importlib.util.find_spec("pysyncobj") is None:
            raise NotInstalled("pip install pysyncobj")
        super().__init__()
        self.addresses = [f"127.0.0.1:{port}" for port in free_ports(VOTERS)]

    def launch(self, number: int) -> Told:
        others = [each for each in self.addresses if each != self.addresses[number]]
        program = str(HERE / "bench_pysyncobj.py")
        return Told([sys.executable, program, self.addresses[number], ",".join(others)])

    def leads(self) -> int | None:
        states = [node.tell(op="status") for node in self.nodes]
        leading = [at for at, state in enumerate(states) if state["leads"]]
        if len(leading) != 1 or not all(state["ready"] for state in states):
            return None
        agreed = all(state["leader"] == self.addresses[leading[0]] for state in states)
        return leading[0] if agreed else None


class Etcd(Contender):
    """By gRPC from Python, as the other two are driven from Python."""

    name = "etcd"

    def __init__(self) -> None:
        if shutil.which("etcd") is None:
            raise NotInstalled("apt install etcd-server")
        if importlib.util.find_spec("grpc") is None:
            raise NotInstalled("pip install grpcio")
        super().__init__()
        ports = free_ports(2 * VOTERS)
        self.clients, self.peers = ports[:VOTERS], ports[VOTERS:]
        self.servers: list[subprocess.Popen[bytes]] = []

    def launch(self, number: int) -> subprocess.Popen[bytes]:
        client = f"http://127.0.0.1:{self.clients[number]}"
        peer = f"http://127.0.0.1:{self.peers[number]}"
        team = ",".join(f"n{at}=http://127.0.0.1:{port}" for at, port in enumerate(self.peers))
        return subprocess.Popen(
            [
                "etcd",
                *("--name", f"n{number}", "--data-dir", str(self.folder / f"n{number}")),
                *("--listen-client-urls", client, "--advertise-client-urls", client),
                *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
                *("--initial-cluster", team, "--initial-cluster-state", "new"),
                *("--log-level", "error", "--logger", "zap"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def start(self) -> None:
        self.servers = [self.launch(number) for number in range(VOTERS)]
        self.await_leader(lambda: asyncio.run(self.leads()))

    async def leads(self) -> int | None:
        numbers: dict[str, int] = {}
        leaders = set()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(1)) as session:
            for at, port in enumerate(self.clients):
                url = f"http://127.0.0.1:{port}/v3/maintenance/status"
                try:
                    async with session.post(url, json={}) as response:
                        state = await response.json()
                except (aiohttp.ClientError, TimeoutError):
                    return None
                numbers[state["header"]["member_id"]] = at
                leaders.add(state.get("leader", "0"))
        return numbers.get(leaders.pop()) if len(leaders) == 1 else None

    def serial(self, node: int, count: int) -> dict[str, float]:
        return asyncio.run(self._serial(node, count))

    async def _serial(self, node: int, count: int) -> dict[str, float]:
        times = []
        async with _Puts(self.clients[node], 1) as puts:
            for number in range(count):
                begun = time.perf_counter()
                await puts.put(number % 100)
                times.append(time.perf_counter() - begun)
        times.sort()
        return {
            "p50_ms": times[count // 2] * 1e3,
            "p99_ms": times[count * 99 // 100] * 1e3,
        }

    def pipe(self, node: int, count: int, window: int) -> dict[str, float]:
        return asyncio.run(self._pipe(node, count, window))

    async def _pipe(self, node: int, count: int, window: int) -> dict[str, float]:
        async with _Puts(self.clients[node], CHANNELS) as puts:
            numbers = iter(range(count))

            async def work() -> None:
                for number in numbers:
                    await puts.put(number % 1000)

            begun = time.perf_counter()
            await asyncio.gather(*[work() for _ in range(window)])
            return {"ops_s": count / (time.perf_counter() - begun), "failed": 0}

    def fail_over(self) -> float:
        self.await_leader(lambda: asyncio.run(self.leads()))
        time.sleep(0.5)
        seconds = asyncio.run(self._fail_over())
        self.servers[self.leader] = self.launch(self.leader)
        self.await_leader(lambda: asyncio.run(self.leads()))
        return seconds

    async def _fail_over(self) -> float:
        """Writes through both others every 10 ms until one is confirmed."""
        living = [port for at, port in enumerate(self.clients) if at != self.leader]
        killed_at = time.perf_counter()
        self.servers[self.leader].kill()
        self.servers[self.leader].wait()
        clients = [_Puts(port, 1) for port in living]
        for client in clients:
            await client.__aenter__()
        pending: set[asyncio.Task[None]] = set()
        try:
            while time.perf_counter() < killed_at + 20:
                pending |= {asyncio.create_task(client.put(0)) for client in clients}
                done, pending = await asyncio.wait(
                    pending, timeout=0.01, return_when=asyncio.FIRST_COMPLETED
                )
                if any(task.exception() is None for task in done):
                    return time.perf_counter() - killed_at
            raise SystemExit("etcd confirmed nothing for 20 s")
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
            for client in clients:
                await client.__aexit__()

    def stop(self) -> None:
        for server in self.servers:
            server.kill()
            server.wait()
        super().stop()


class _Puts:
    """A client of one etcd node, with some channels. The message is encoded by hand: two fields
    of bytes need no compiler."""

    def __init__(self, port: int, channels: int) -> None:
        self.port = port
        self.channels = channels
        self._at = 0

    async def __aenter__(self) -> _Puts:
        import grpc  # an extra: only where etcd is measured

        options = [("grpc.use_local_subchannel_pool", 1)]
        self._open = [
            grpc.aio.insecure_channel(f"127.0.0.1:{self.port}", options=options)
            for _ in range(self.channels)
        ]
        self._calls = [channel.unary_unary(ETCD_PUT) for channel in self._open]
        return self

    async def __aexit__(self, *_: object) -> None:
        for channel in self._open:
            await channel.close()

    async def put(self, number: int) -> None:
        key = b"k%d" % number
        self._at = (self._at + 1) % self.channels
        fields = b"\x0a%c%s\x12%c%s" % (len(key), key, len(VALUE), VALUE)
        await self._calls[self._at](fields)


async def http_puts(requests: Callable[[int], tuple[str, str, bytes]], headers: dict[str, str],
                    clients: int, count: int) -> float:  # fmt: skip
    """Writes per second over HTTP with so many clients: `requests` gives method, URL and body."""
    numbers = iter(range(count))
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def work() -> None:
            for number in numbers:
                method, url, body = requests(number)
                async with session.request(method, url, data=body) as response:
                    await response.read()
                    if response.status >= 300:
                        raise RuntimeError(f"{method} {url}: HTTP {response.status}")

        begun = time.perf_counter()
        await asyncio.gather(*[work() for _ in range(clients)])
        return count / (time.perf_counter() - begun)


def etcd_request(port: int) -> Callable[[int], tuple[str, str, bytes]]:
    """A put by etcd's HTTP gateway."""
    value = base64.b64encode(VALUE).decode()

    def request(number: int) -> tuple[str, str, bytes]:
        key = base64.b64encode(b"k%d" % (number % 1000)).decode()
        body = json.dumps({"key": key, "value": value}).encode()
        return "POST", f"http://127.0.0.1:{port}/v3/kv/put", body

    return request


def quorate_request(door: int) -> Callable[[int], tuple[str, str, bytes]]:
    """A put at Quorate's client door."""
    return lambda number: ("PUT", f"http://127.0.0.1:{door}/v1/registers/k{number % 1000}", VALUE)


def quorate_batches(door: int, size: int) -> Callable[[int], tuple[str, str, bytes]]:
    """So many puts in one body."""
    body = msgpack.packb([["put", f"k{number}", VALUE, None] for number in range(size)])
    return lambda number: ("POST", f"http://127.0.0.1:{door}/v1/registers", body)
