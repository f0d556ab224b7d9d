"""A group of Raft machines driven by hand: a test reads like a play.

    play = Play("abc")
    play.elect("a")
    play.propose("a", b"x")
    assert play["b"].commit == 2

Nothing happens unless the test says so. Messages lie on `wire` as real frames of the codec until
`deliver` or `settle` hands them over; writes lie in a node's `writes` until its disk gets to them
(at once, unless `slow_disks` says otherwise).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random

from protocol import codec
from protocol.clocks import Nanoseconds
from protocol.config import RaftConfig
from protocol.configuration import Configuration
from protocol.effects import HardState, Record, Restored
from protocol.errors import Busy, NotLeader
from protocol.facts import Fact
from protocol.identity import NOBODY, NodeId
from protocol.messages import (
    Agreement,
    EntryKind,
    LogEntry,
    OfLog,
    OfRaft,
)
from protocol.raft import Raft
from protocol.sim.disk import Disk
from protocol.turn import Outgoing, Turn

CONFIG = RaftConfig()
MACHINE: type[Raft] = Raft  # a test of mutants puts another in its place
STEPS_MAX = 20_000  # deliveries in one `settle`: more is a storm


def voters_entry(voters: Iterable[str], index: int = 1, term: int = 1) -> LogEntry:
    """A log entry that holds a configuration."""
    data = codec.pack_value(Configuration(tuple(NodeId(voter) for voter in voters)))
    return LogEntry(index, term, EntryKind.VOTERS, data)


def entry(index: int, term: int, data: bytes = b"") -> LogEntry:
    """A log entry that holds a command."""
    return LogEntry(index, term, EntryKind.COMMAND, data)


def log_of(*terms: int, voters: str = "abc") -> tuple[LogEntry, ...]:
    """A log whose first entry is the configuration, and whose entries have these terms."""
    first = voters_entry(voters, 1, terms[0])
    rest = (entry(at, term, b"%d/%d" % (at, term)) for at, term in enumerate(terms[1:], start=2))
    return (first, *rest)


@dataclass(slots=True)
class Letter:
    """A frame on its way."""

    sender: str
    receiver: str
    frame: bytes

    @property
    def message(self) -> OfLog:
        whole = codec.decode(self.frame)
        assert isinstance(whole, Agreement)
        return whole.message

    def __repr__(self) -> str:
        return f"<{self.sender}->{self.receiver} {self.message}>"


@dataclass(slots=True)
class Actor:
    """One node: a machine, its disk, and what it said, did and committed."""

    raft: Raft
    disk: Disk
    sequence: int = 0
    persisted: int = 0
    writes: deque[tuple[int, tuple[Record, ...], list[Outgoing]]] = field(default_factory=deque)
    facts: list[Fact] = field(default_factory=list)
    committed: list[LogEntry] = field(default_factory=list)


class Play:
    """See the module's text."""

    def __init__(
        self,
        names: str,
        voters: str | None = None,
        logs: dict[str, tuple[LogEntry, ...]] | None = None,
        terms: dict[str, int] | None = None,
        config: RaftConfig = CONFIG,
    ) -> None:
        self.now: Nanoseconds = 0
        self.config = config
        self.wire: list[Letter] = []
        self.cut: set[tuple[str, str]] = set()
        self.slow_disks: set[str] = set()
        self.actors: dict[str, Actor] = {}
        for name in names:
            log = (logs or {}).get(name, log_of(1, voters=voters or names))
            disk = Disk()
            term = (terms or {}).get(name, log[-1].term if log else 0)
            disk.hard_state = HardState(term, NOBODY)
            disk.entries = list(log)
            self.actors[name] = Actor(self._machine(name, disk.restored()), disk)
        self.now = config.lease_ns  # until then whoever was started holds its vote back

    def __getitem__(self, name: str) -> Raft:
        return self.actors[name].raft

    def _machine(self, name: str, restored: Restored) -> Raft:
        return MACHINE(NodeId(name), self.config, Random(name), restored, self.now)

    # -- doing ---------------------------------------------------------------------------------

    def act(self, name: str, deed: Callable[[Turn], object]) -> Turn:
        """Let a node take a turn, and perform what it asks for, in the promised order."""
        actor = self.actors[name]
        turn = Turn(self.now, self.now, actor.sequence + 1)
        deed(turn)
        actor.facts += turn.facts
        actor.committed += turn.committed
        for item in turn.before:
            assert isinstance(item, tuple)
            self._post(name, item)
        if turn.records or (turn.after and actor.sequence > actor.persisted):
            actor.sequence = turn.sequence
            actor.writes.append((turn.sequence, tuple(turn.records), turn.after))
            if name not in self.slow_disks:
                self.write(name)
        else:
            for item in turn.after:
                self._post(name, item)
        return turn

    def _post(self, sender: str, item: Outgoing) -> None:
        destination, _, message = item
        if (sender, destination) not in self.cut and destination in self.actors:
            self.wire.append(Letter(sender, destination, codec.encode(Agreement(b"", message))))

    def write(self, name: str) -> None:
        """The disk has done all that was asked of it."""
        actor = self.actors[name]
        while actor.writes:
            sequence, records, after = actor.writes.popleft()
            actor.disk.write(records)
            for item in after:
                self._post(name, item)
            actor.persisted = sequence
            self.act(name, lambda turn, at=sequence: self[name].persisted(turn, at))  # type: ignore[misc]

    def receive(self, name: str, sender: str, message: OfLog) -> Turn:
        """Give a node a message, as if it came from `sender`."""
        assert isinstance(message, OfRaft)
        return self.act(name, lambda turn: self[name].step(turn, NodeId(sender), message))

    def deliver(self, sender: str = "", receiver: str = "") -> OfLog | None:
        """Hand over the oldest letter that fits; None if there is none."""
        for at, letter in enumerate(self.wire):
            if sender in ("", letter.sender) and receiver in ("", letter.receiver):
                del self.wire[at]
                self.receive(letter.receiver, letter.sender, letter.message)
                return letter.message
        return None

    def settle(self) -> None:
        """Deliver until nothing is on its way."""
        for _ in range(STEPS_MAX):
            if self.deliver() is None:
                return
        raise AssertionError("the messages never end")

    def lose(self, sender: str = "", receiver: str = "") -> None:
        """Drop what is on its way."""
        self.wire = [
            letter
            for letter in self.wire
            if not (sender in ("", letter.sender) and receiver in ("", letter.receiver))
        ]

    def isolate(self, name: str) -> None:
        """Cut a node off, both ways."""
        for other in self.actors:
            self.cut |= {(name, other), (other, name)}

    def heal(self) -> None:
        self.cut.clear()

    # -- time ----------------------------------------------------------------------------------

    def wait(self, duration: Nanoseconds) -> None:
        """Time goes by and nobody notices: no timer is served."""
        self.now += duration

    def tick(self, name: str) -> Turn:
        """Serve a node's timers."""
        return self.act(name, lambda turn: self[name].tick(turn))

    def heartbeat(self, name: str) -> None:
        """Let a heartbeat interval go by at a leader, and everybody answer."""
        self.wait(self.config.heartbeat_ns)
        self.tick(name)
        self.settle()

    # -- scenes --------------------------------------------------------------------------------

    def elect(self, name: str) -> None:
        """Long after the last word of any leader, `name` campaigns; all is delivered."""
        self.wait(2 * self.config.election_timeout_ns)
        self.act(name, self[name].campaign)
        self.settle()
        assert self[name].role.value == "leader", f"{name} did not win: {self[name]!r}"

    def propose(self, name: str, command: bytes) -> int | None:
        """Propose at a node: the index, or None. Deliver with `settle`."""
        indexes: list[int | None] = []

        def deed(turn: Turn) -> None:
            try:
                indexes.append(self[name].propose(turn, command))
            except (NotLeader, Busy):
                indexes.append(None)

        self.act(name, deed)
        return indexes[0]

    def crash(self, name: str) -> None:
        """The node stops and starts again with what its disk kept; its letters may still arrive."""
        actor = self.actors[name]
        self.actors[name] = Actor(self._machine(name, actor.disk.restored()), actor.disk)

    def said(self, name: str) -> list[OfLog]:
        """What lies on the wire from a node."""
        return [letter.message for letter in self.wire if letter.sender == name]

    def terms(self, name: str) -> list[int]:
        """The terms in a node's log."""
        log = self[name].log
        return [log.entry(index).term for index in range(1, log.last_index + 1)]

    def commands(self, name: str) -> list[bytes]:
        """The commands that a node knows to be committed."""
        committed = self.actors[name].committed
        return [entry.data for entry in committed if entry.kind is EntryKind.COMMAND]
