"""One node process: put the parts together, run until told to stop, leave nothing behind.

    trust -> journal -> transport -> peer -> runtime -> client door

A signal stops the process: most often it is a restart, so it stays a member, but lets another lead
and others go on with its tasks. A team that loses a node for good finds out by itself. Who means
goodbye asks the client door to leave.

Exit codes: 0 stopped when asked, 2 it was told something impossible, 3 it could not run.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvloop

from node import settings as node_settings
from node.agents.invocation import Invocations
from node.agents.scratch import scratch_root
from node.agents.settings import AgentSettings
from node.agents.strays import strays
from node.answering import AnswerPrograms
from node.doors.client import ClientDoor
from node.hiding import hide_from_programs
from node.journal import Journal
from node.journal_file import FILE as JOURNAL_FILE
from node.journal_file import JournalError, JournalMissing
from node.links import features
from node.links.listening import CannotListen, endpoint_of, listen_on
from node.links.transport import Transport
from node.links.trust import SEED_FILE, ClusterTrust, load_or_create_seed
from node.model.knobs import ModelKnobs
from node.parent import watch_parent
from node.runtime import Runtime
from node.settings import Address, NodeSettings
from node.telemetry import Telemetry
from node.token import read_token
from protocol import config as presets
from protocol.codec import OLDEST_VERSION, VERSION
from protocol.config import Config
from protocol.errors import QuorateError
from protocol.events import Event
from protocol.identity import Identity
from protocol.membership import tagged
from protocol.peer import Peer, PeerSettings

Beside = Callable[[Runtime, Transport], Coroutine[Any, Any, None]]

TOKEN_FILE = "token"  # in the data directory
TOKEN_BYTES = 24
EXIT_USAGE = 2
EXIT_FAILED = 3
# How long the journal's thread waits before it asks the loop for the interpreter. A busy loop lets
# go of it for an instant with every turn, and each time that starts the wait anew: with Python's
# 5 ms a write was confirmed after half a second (measured, the loop never idle), with this after
# one millisecond.
SWITCH_INTERVAL_S = 0.000_02


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a node with these command-line arguments; the exit code."""
    try:
        settings = node_settings.from_arguments(sys.argv[1:] if arguments is None else arguments)
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        strays.inherit()  # not in `run`: a program that embeds a node has children of its own
        return uvloop.run(run(settings))
    except QuorateError as fault:
        print(f"error: {fault}", file=sys.stderr)
        return EXIT_USAGE
    except OSError as fault:  # a full disk, a limit of the system: not this program's to repair
        print(f"error: {fault.filename or 'system'}: {fault.strerror}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return 0


async def run(settings: NodeSettings, beside: Beside | None = None) -> int:
    """A node's life. `beside` runs in the same loop as soon as the node is ready, until it ends:
    programs that embed a node, and benchmarks, have its runtime there."""
    hide_from_programs()  # what agents and checks run must not read our secrets from memory
    is_known = (settings.data_dir / SEED_FILE).exists()
    seed = load_or_create_seed(settings.data_dir)
    if is_known and not (settings.data_dir / JOURNAL_FILE).exists():
        raise JournalMissing(
            f"{settings.data_dir} has a key but no journal: what this node has promised is lost, "
            f"so it must not come back under its name: move the directory away and join again"
        )
    identity = Identity(seed)
    trust = ClusterTrust(settings.cluster, settings.secret, seed, settings.preset)
    journal = Journal.open(settings.data_dir, settings.cluster, identity.node)
    code = EXIT_FAILED
    try:
        with scratch_root(settings.data_dir) as scratch:
            code = await _run_with_journal(settings, identity, trust, journal, scratch, beside)
    finally:
        try:
            journal.close()
        except JournalError as fault:
            if journal.failure is None:  # else the node has stopped for it, and said so
                print(f"error: {fault}", file=sys.stderr)
            code = EXIT_FAILED
    return code


async def _run_with_journal(
    settings: NodeSettings,
    identity: Identity,
    trust: ClusterTrust,
    journal: Journal,
    scratch: Path,
    beside: Beside | None,
) -> int:
    peer_socket = _listener("--listen", settings.listen, settings.listen_fd)
    door_socket = _listener("--door", settings.door, settings.door_fd)
    endpoints = settings.advertise or (endpoint_of(peer_socket),)
    telemetry = Telemetry(identity.node, settings.name, settings.data_dir)
    if journal.damage:
        telemetry.say(f"! the journal was damaged: {journal.damage}")
        print(f"warning: the journal was damaged: {journal.damage}", file=sys.stderr)
    peer = Peer(
        identity,
        PeerSettings(
            cluster=settings.cluster,
            name=settings.name,
            endpoints=endpoints,
            seeds=settings.seeds,
            epoch=journal.starts,
            found=settings.found,
            expected=settings.expected,
            seed=settings.seed or os.urandom(8).hex(),
            metadata=(
                ("door", endpoint_of(door_socket)),
                ("protocol", f"{OLDEST_VERSION}-{VERSION}"),
                ("features", features.written(features.offered(settings.preset))),
                ("preset", settings.preset),
                *tagged(dict(settings.tags)).items(),
            ),
            wall_offset=time.time_ns() - time.monotonic_ns(),
        ),
        _config(settings),
        journal.load(),
        time.monotonic_ns(),
    )
    inbox = _Inbox()
    transport = Transport(
        trust, inbox.deliver, allow_faults=settings.allow_faults, report=telemetry.report
    )
    agents = _agent_settings(settings, scratch)
    workers = Invocations(agents, inbox.deliver)
    programs = AnswerPrograms(
        dict(settings.answers), scratch, agents.program_variables, inbox.deliver, telemetry.say
    )
    runtime = Runtime(peer, transport, journal, workers, telemetry, programs)
    inbox.runtime = runtime
    journal.on_failure = runtime.stop
    companion: asyncio.Task[None] | None = None
    door = ClientDoor(runtime, transport, workers, telemetry, _door_token(settings))
    try:
        await transport.start(peer_socket)
        await door.start(door_socket)
        runtime.start()
        told = await _listen_for_the_end(settings)
        telemetry.say(
            f"# {settings.name} {identity.node} at {', '.join(endpoints)}, start {journal.starts}"
        )
        _say_ready(settings, endpoints[0], endpoint_of(door_socket))
        gc.freeze()  # what lives for ever need not be looked at again
        if beside is not None:
            companion = asyncio.create_task(beside(runtime, transport), name="beside the node")
        return await _until_stopped(told, runtime, telemetry)
    finally:
        runtime.stop()
        if companion is not None:
            companion.cancel()
            await asyncio.gather(companion, return_exceptions=True)
        await workers.close()
        await programs.close()
        await door.close()
        await transport.close()
        telemetry.close()


class _Inbox:
    """Breaks the circle: transport and agents deliver to a runtime that is made after them."""

    runtime: Runtime

    def deliver(self, event: Event) -> None:
        self.runtime.deliver(event)


async def _listen_for_the_end(settings: NodeSettings) -> asyncio.Event:
    """Set when somebody tells this process to stop. Before it says that it is ready, so that
    whoever read that may tell it."""
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    if settings.stop_with_parent:
        await watch_parent(told)
    return told


async def _until_stopped(told: asyncio.Event, runtime: Runtime, telemetry: Telemetry) -> int:
    """Told once, it stops in good order; told twice, at once."""
    await _first(told, runtime.stopped)
    telemetry.say("# stopping")
    if not runtime.stopped.done():
        told.clear()
        runtime.retire()
        await _first(told, runtime.stopped)
    fault = runtime.stopped.exception() if runtime.stopped.done() else None
    if fault is not None:
        print(f"error: the node stopped itself: {fault!r}", file=sys.stderr)
        return EXIT_FAILED
    return 0


async def _first(told: asyncio.Event, stopped: asyncio.Future[None]) -> None:
    """Wait for one of them."""
    waiting = asyncio.create_task(told.wait())
    ends: set[asyncio.Future[Any]] = {waiting, stopped}
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()


def _config(settings: NodeSettings) -> Config:
    config = presets.PRESETS[settings.preset]()
    return replace(config, team=replace(config.team, slots=settings.slots))


def _agent_settings(settings: NodeSettings, scratch: Path) -> AgentSettings:
    agents = AgentSettings.from_environment(os.environ, scratch)
    return replace(
        agents,
        simulated_url=settings.simulated_url,
        simulated=ModelKnobs(speed=settings.speed),
        invocations_max=max(8, settings.slots),
    )


def _door_token(settings: NodeSettings) -> str:
    """What clients have to show: given by whoever launched this node, or in a file of our own that
    only this user may read."""
    if settings.token:
        return settings.token
    path = settings.data_dir / TOKEN_FILE
    with contextlib.suppress(FileNotFoundError):
        if token := read_token(path, str(path)):
            return token
    token = secrets.token_urlsafe(TOKEN_BYTES)
    path.touch(mode=0o600)
    path.write_text(f"{token}\n")
    return token


def _listener(option: str, address: Address, inherited: int) -> socket.socket:
    """A bound socket: the launcher's, or one of our own."""
    if inherited >= 0:
        return socket.socket(fileno=inherited)
    try:
        return listen_on(address.host, address.port)
    except CannotListen as fault:
        raise CannotListen(f"{option} {address}: {fault}") from None


def _say_ready(settings: NodeSettings, endpoint: str, door: str) -> None:
    joins = f", joins {' or '.join(settings.seeds)}" if settings.seeds else ""  # with their ports
    print(
        f"{settings.name} listens for nodes on {endpoint}, for clients on http://{door}{joins}",
        flush=True,
    )
    draft = settings.data_dir / "ready.new"
    draft.write_text(f"{os.getpid()}\n")
    with contextlib.suppress(OSError):
        Path(draft).replace(settings.data_dir / "ready")


if __name__ == "__main__":
    sys.exit(main())
