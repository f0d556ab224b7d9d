"""Members of a team under measurement, one process each: Quorate's node, `serf agent`, kinship.

Each is started as its users start it, told to join and to announce by its own door, and observed
through what it reports itself, with its own times where it gives any. `heard` has all of that, and
`view` who is in the team as this member sees it now.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import re
import shutil
import signal
import sys
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import aiohttp
import msgpack
from bench_gossip_network import Network

HERE = Path(__file__).parent
READY_S = 60.0
ASK_S = 20.0
LOOK_EVERY_S = 0.01
READ_EVERY_S = 0.1  # facts have their own times; to look at many files costs the members theirs
PAYLOAD = "x" * 64
TOKEN = "benchmark-token-of-no-value"
SECRET = "0123456789abcdef-benchmark"


@dataclass(frozen=True, slots=True)
class Heard:
    """What a member reported: `kind` is joined, failed, left or event."""

    at: float  # seconds since the epoch
    kind: str
    who: str  # a member's name, or the event's


class Member(ABC):
    """See the module's text."""

    program = ""
    is_python = True

    def __init__(self, number: int, size: int, network: Network, folder: Path) -> None:
        self.number = number
        self.size = size
        self.network = network
        self.name = f"n{number:03d}"
        self.address = network.address(number)
        self.seed = network.address(0)
        self.folder = folder / self.name
        self.folder.mkdir()
        self.heard: list[Heard] = []
        self.view: set[str] = set()
        self.process: asyncio.subprocess.Process
        self.reading: asyncio.Task[None]

    # -- what each of them does in its own way -----------------------------------------------------

    @classmethod
    def missing(cls) -> str:
        """What has to be installed before it can run here; empty if nothing has."""
        return ""

    @abstractmethod
    def command(self) -> list[str]: ...

    @abstractmethod
    async def read(self) -> None:
        """Take note of what the process reports, until it ends."""

    @abstractmethod
    async def wait_ready(self) -> None: ...

    @abstractmethod
    async def join(self) -> None:
        """Join the team of the seed, which is the first member."""

    @abstractmethod
    async def announce(self, event: str) -> None: ...

    async def hang_up(self) -> None:
        """Close what was opened to the process."""
        return

    async def share(self, value: bytes, count: int) -> bool:
        """Let all have so many values; False if members of this program share nothing."""
        return False

    async def shared(self) -> int:
        """How many values are here."""
        return 0

    async def term(self) -> int:
        """How many leaders there were."""
        return 0

    # -- what all do alike ---------------------------------------------------------------------

    async def start(self) -> None:
        """Start it, or start it again, and wait until it takes orders."""
        self.view = {self.name}
        scratch = str(self.folder)  # what a process has there is left behind if it is killed
        with (self.folder / "errors.log").open("ab") as errors:
            self.process = await asyncio.create_subprocess_exec(
                *self.command(),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                group=self.network.group(self.number),
                extra_groups=[],
                cwd=HERE.parent,
                env={
                    **os.environ,
                    "QUORATE_SECRET": SECRET,
                    "QUORATE_TOKEN": TOKEN,
                    "TMPDIR": scratch,
                },
            )
        self.reading = asyncio.create_task(self.read())
        async with asyncio.timeout(READY_S):
            await self.wait_ready()

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    async def kill(self) -> None:
        """At once, as a power cut would."""
        self.signal(signal.SIGKILL)
        await self.process.wait()
        self.reading.cancel()
        await self.hang_up()

    def note(self, kind: str, who: str, at: float) -> None:
        self.heard.append(Heard(at, kind, who))
        if kind == "joined":
            self.view.add(who)
        elif kind in ("failed", "left"):
            self.view.discard(who)

    def count(self, kind: str, since: float, who: set[str]) -> int:
        """How often it reported something of these since then."""
        return sum(each.kind == kind and each.at > since and each.who in who for each in self.heard)

    def last(self, kind: str, since: float, who: set[str]) -> float:
        """When it last did; `since` if it did not."""
        times = [
            each.at
            for each in self.heard
            if each.kind == kind and each.at > since and each.who in who
        ]
        return max(times, default=since)

    def ended(self) -> NoReturn:
        said = (self.folder / "errors.log").read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{self.program} {self.name} ended: {said}")


class QuorateMember(Member):
    """A node with the preset `lan`. It must know an address to call; until it is told the team's
    it has one where nobody listens."""

    program = "Quorate"

    def command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "node.process", "--name", self.name),
            *("--data-dir", str(self.folder), "--preset", "lan", "--expect", str(self.size)),
            *("--listen", f"{self.address}:7700", "--door", f"{self.address}:7701"),
            *(["--found"] if self.number == 0 else ["--join", f"{self.address}:7799"]),
        ]

    async def wait_ready(self) -> None:
        ready = self.folder / "ready"
        while not (ready.exists() and ready.read_text().strip() == str(self.process.pid)):
            if self.process.returncode is not None:
                self.ended()
            await asyncio.sleep(LOOK_EVERY_S)

    async def read(self) -> None:
        names: dict[str, str] = {}  # of nodes; who comes again with an empty disk is another node
        nodes: dict[str, str] = {}  # that have the names now
        record = self.folder / "facts.jsonl"
        record.touch()
        with record.open("rb") as facts:
            if self.heard:  # started again: what it reported in its earlier life is known
                facts.seek(0, os.SEEK_END)
            rest = b""
            while True:
                *lines, rest = (rest + facts.read()).split(b"\n")
                for line in lines:
                    self._take(json.loads(line), names, nodes)
                await asyncio.sleep(READ_EVERY_S)

    def _take(self, fact: dict[str, Any], names: dict[str, str], nodes: dict[str, str]) -> None:
        nodes[self.name] = fact["at"]
        match fact["type"]:
            case "MemberJoined":
                nodes[fact["name"]], names[fact["node"]] = fact["node"], fact["name"]
                self.note("joined", fact["name"], fact["ts"])
            case "MemberFailed" | "MemberLeft" as kind:
                name = names.get(fact["node"], "?")
                if nodes.get(name, fact["node"]) == fact["node"]:
                    self.note("failed" if kind == "MemberFailed" else "left", name, fact["ts"])
            case "EventReceived":
                self.note("event", fact["name"], fact["ts"])

    async def join(self) -> None:
        await self._post("/v1/join", {"seeds": [f"{self.seed}:7700"]})

    async def announce(self, event: str) -> None:
        await self._post("/v1/announce", {"name": event, "payload": PAYLOAD})

    async def share(self, value: bytes, count: int) -> bool:
        async with self._session() as session:
            for number in range(count):
                url = self._url(f"/v1/entries/bench/{number}")
                async with session.put(url, data=value, raise_for_status=True):
                    pass
        return True

    async def shared(self) -> int:
        entries: int = (await self._status())["store"]["entries"]
        return entries

    async def term(self) -> int:
        term: int = (await self._status())["term"]
        return term

    async def _status(self) -> dict[str, Any]:
        async with (
            self._session() as session,
            session.get(self._url("/v1/status"), raise_for_status=True) as response,
        ):
            status: dict[str, Any] = await response.json()
        return status

    async def _post(self, path: str, body: dict[str, object]) -> None:
        async with (
            self._session() as session,
            session.post(self._url(path), json=body, raise_for_status=True),
        ):
            pass

    def _url(self, path: str) -> str:
        return f"http://{self.address}:7701{path}"

    @staticmethod
    def _session() -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(ASK_S), headers={"Authorization": f"Bearer {TOKEN}"}
        )


SERF_REPORT = re.compile(r"serf: EventMember(Join|Failed|Leave|Reap): (\S+)")
SERF_KINDS = {"Join": "joined", "Failed": "failed", "Leave": "left", "Reap": "left"}


class SerfMember(Member):
    program = "Serf"
    is_python = False

    @classmethod
    def missing(cls) -> str:
        return "" if shutil.which("serf") else "apt install serf"

    def command(self) -> list[str]:
        return [
            *("serf", "agent", f"-node={self.name}", f"-bind={self.address}:7946"),
            *(f"-rpc-addr={self.address}:7373", "-profile=lan", "-log-level=info"),
        ]

    async def wait_ready(self) -> None:
        self.door = SerfDoor(lambda name: self.note("event", name, time.time()))
        while not await self.door.open(self.address):
            if self.process.returncode is not None:
                self.ended()
            await asyncio.sleep(LOOK_EVERY_S)

    async def read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            if found := SERF_REPORT.search(line.decode(errors="replace")):
                self.note(SERF_KINDS[found[1]], found[2].rstrip(","), time.time())

    async def join(self) -> None:
        await self.door.ask("join", {"Existing": [f"{self.seed}:7946"], "Replay": False}, True)

    async def announce(self, event: str) -> None:
        body = {"Name": event, "Payload": PAYLOAD.encode(), "Coalesce": False}
        await self.door.ask("event", body, False)

    async def hang_up(self) -> None:
        await self.door.close()


class SerfDoor:
    """A client of one agent: MessagePack requests on TCP, answered by a header and perhaps a body
    (Serf's documentation, "RPC Protocol")."""

    def __init__(self, heard: Any) -> None:
        self._heard = heard
        self._sequence = 0
        self._answers: dict[int, tuple[bool, asyncio.Future[None]]] = {}

    async def open(self, address: str) -> bool:
        """Connect and subscribe to events; False if nobody listens yet."""
        try:
            self._reader, self._writer = await asyncio.open_connection(address, 7373)
        except OSError:
            return False
        self._reading = asyncio.create_task(self._read())
        await self.ask("handshake", {"Version": 1}, False)
        self._stream = self._sequence + 1
        await self.ask("stream", {"Type": "user"}, False)
        return True

    async def ask(self, command: str, body: dict[str, object], has_answer: bool) -> None:
        self._sequence += 1
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._answers[self._sequence] = has_answer, answer
        header = {"Command": command, "Seq": self._sequence}
        self._writer.write(msgpack.packb(header) + msgpack.packb(body))
        async with asyncio.timeout(ASK_S):
            await answer

    async def _read(self) -> None:
        unpacker = msgpack.Unpacker(strict_map_key=False, unicode_errors="replace")
        header: dict[str, Any] | None = None
        with contextlib.suppress(OSError):
            while data := await self._reader.read(65_536):
                unpacker.feed(data)
                for each in unpacker:
                    if header is not None:
                        if header["Seq"] == getattr(self, "_stream", 0):
                            self._heard(each["Name"])
                        header = None
                    elif self._is_all(each):
                        header = None
                    else:
                        header = each

    def _is_all(self, header: dict[str, Any]) -> bool:
        """Whether a header is the whole answer: to a request, as opposed to a stream's record."""
        has_body, answer = self._answers.pop(header["Seq"], (True, None))
        if answer is not None and not answer.done():
            if header["Error"]:
                answer.set_exception(RuntimeError(header["Error"]))
                return True
            answer.set_result(None)
        return not has_body

    async def close(self) -> None:
        self._reading.cancel()
        self._writer.close()


class KinshipMember(Member):
    program = "kinship"

    @classmethod
    def missing(cls) -> str:
        return "" if importlib.util.find_spec("kinship") else "pip install kinship"

    def command(self) -> list[str]:
        program = str(HERE / "bench_kinship.py")
        return [sys.executable, program, self.name, f"{self.address}:7946", f"{self.seed}:7946"]

    async def wait_ready(self) -> None:
        self._ready = asyncio.Event()
        await self._ready.wait()

    async def read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            said = json.loads(line)
            if said["kind"] == "ready":
                self._ready.set()
            else:
                self.note(said["kind"], said["who"], said["at"])
        if not self._ready.is_set():
            self.ended()

    async def join(self) -> None:
        await self._tell("join")

    async def announce(self, event: str) -> None:
        await self._tell(f"event {event}")

    async def _tell(self, order: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{order}\n".encode())
        await self.process.stdin.drain()


PROGRAMS: dict[str, type[Member]] = {
    kind.program: kind for kind in (QuorateMember, SerfMember, KinshipMember)
}
