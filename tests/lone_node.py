"""A whole node but for its links: a team of one, and a client's questions to its door."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from agent_setup import quick

from node.agents.invocation import Invocations
from node.answering import AnswerPrograms
from node.doors.client import ClientDoor
from node.links.listening import endpoint_of, listen_on
from node.links.transport import Transport
from node.links.trust import ClusterTrust
from node.runtime import Runtime
from node.telemetry import Telemetry
from protocol import config as presets
from protocol.effects import KeepPart, Record, Restored
from protocol.identity import Identity
from protocol.peer import Peer, PeerSettings

TOKEN = "a token that nobody guesses"
ALLOWED = {"Authorization": f"Bearer {TOKEN}"}
READ = {**ALLOWED, "Content_Type": "application/json"}


class Memory:
    """A disk that never fails and never waits."""

    is_full = False

    def __init__(self) -> None:
        self.parts: dict[tuple[str, int], bytes] = {}

    def read_part(self, blob: str, part: int) -> bytes | None:
        return self.parts.get((blob, part))

    def write(
        self, sequence: int, records: tuple[Record, ...], done: Callable[[int], None]
    ) -> None:
        for record in records:
            if isinstance(record, KeepPart):
                self.parts[record.blob, record.part] = record.data
        asyncio.get_running_loop().call_soon(done, sequence)


@asynccontextmanager
async def lone_node(
    folder: Path, found: bool = True, programs: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[str, Runtime]]:
    """The node's door, and what is behind it."""
    seed = b"d" * 32
    identity = Identity(seed)
    settings = PeerSettings("doors", "n1", ("Box.example:1",), found=found, seed="1")
    peer = Peer(identity, settings, presets.local(), Restored(), 0)
    telemetry = Telemetry(identity.node, "n1", folder)
    transport = Transport(ClusterTrust("doors", "s" * 16, seed), lambda event: None)
    workers = Invocations(quick(folder), lambda event: runtime.deliver(event))
    answering = AnswerPrograms(
        programs or {}, folder, (), lambda event: runtime.deliver(event), telemetry.say
    )
    runtime = Runtime(peer, transport, Memory(), workers, telemetry, answering)
    door = ClientDoor(runtime, transport, workers, telemetry, TOKEN)
    listening = listen_on("127.0.0.1", 0)
    await door.start(listening)
    runtime.start()
    try:
        yield endpoint_of(listening), runtime
    finally:
        runtime.stop()
        await workers.close()
        await answering.close()
        await door.close()
        telemetry.close()


async def ask(
    address: str, method: str, path: str, body: bytes = b"", **headers: str
) -> tuple[int, dict[str, object]]:
    """The status and the JSON of an answer."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        aiohttp.ClientSession() as session,
        session.request(
            method, f"http://{address}{path}", data=io.BytesIO(body), headers=named
        ) as response,
    ):
        return response.status, await response.json()
