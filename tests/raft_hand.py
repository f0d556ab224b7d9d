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

import hashlib
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random

from protocol import codec
from protocol.clocks import Nanoseconds
from protocol.config import RaftConfig
from protocol.configuration import Change, ChangeKind, Configuration, Transition
from protocol.effects import HardState, Record, Restored, Snapshot
from protocol.errors import Busy, NotLeader
from protocol.facts import Fact
from protocol.identity import NOBODY, NodeId
from protocol.messages.agreement import (
    Agreement,
    EntryKind,
    LogEntry,
    OfLog,
    OfRaft,
    SnapshotPart,
    VoteRequest,
)
from protocol.raft import Raft
from protocol.raft.leadership import Leadership
from protocol.raft.progress import Progress
from protocol.sim.disk import Disk
from protocol.turn import Outgoing, Turn

CONFIG = RaftConfig()
STEPS_MAX = 20_000  # deliveries in one `settle`: more is a storm


def nodes(names: Iterable[str]) -> tuple[NodeId, ...]:
    return tuple(NodeId(name) for name in names)


def configuration(voters: str, outgoing: str = "", learners: str = "") -> Configuration:
    return Configuration(nodes(voters), nodes(outgoing), nodes(learners))


def voters_entry(voters: str | Configuration, index: int = 1, term: int = 1) -> LogEntry:
    """A log entry that holds a configuration."""
    found = configuration(voters) if isinstance(voters, str) else voters
    return LogEntry(index, term, EntryKind.VOTERS, codec.pack_value(found))


def add(name: str) -> Change:
    return Change(ChangeKind.ADD_VOTER, NodeId(name))


def add_learner(name: str) -> Change:
    return Change(ChangeKind.ADD_LEARNER, NodeId(name))


def remove(name: str) -> Change:
    return Change(ChangeKind.REMOVE, NodeId(name))


def vote_request(
    term: int,
    last_index: int = 1,
    last_term: int = 1,
    pre: bool = False,
    transfer: bool = False,
    reach: int = 0,
) -> VoteRequest:
    return VoteRequest(term, last_index, last_term, pre, transfer, reach)


def entry(index: int, term: int, data: bytes = b"") -> LogEntry:
    """A log entry that holds a command."""
    return LogEntry(index, term, EntryKind.COMMAND, data)


def log_of(*terms: int, voters: str = "abc") -> tuple[LogEntry, ...]:
    """A log whose first entry is the configuration, and whose entries have these terms."""
    first = voters_entry(voters, 1, terms[0])
    rest = (entry(at, term, b"%d/%d" % (at, term)) for at, term in enumerate(terms[1:], start=2))
    return (first, *rest)


def a_snapshot(index: int = 5, term: int = 2, state: bytes = b"state" * 20) -> Snapshot:
    """A snapshot as if of another node's log."""
    return Snapshot(index, term, configuration("abc"), 1, bytes(16), bytes(8), state)


def part_of(
    snapshot: Snapshot, offset: int = 0, size: int = 10_000, term: int = 3, request: int = 1
) -> SnapshotPart:
    """The piece of it from `offset` on, as a leader of `term` sends it."""
    data = codec.pack_value(snapshot)
    digest = hashlib.sha256(data).digest()
    piece = data[offset : offset + size]
    return SnapshotPart(term, request, snapshot.index, digest, len(data), offset, piece)


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
    committed: list[LogEntry | Snapshot] = field(default_factory=list)
    reads: list[tuple[object, int]] = field(default_factory=list)


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
        return Raft(NodeId(name), self.config, Random(name), restored, self.now)

    # -- doing ---------------------------------------------------------------------------------

    def act(self, name: str, deed: Callable[[Turn], object]) -> Turn:
        """Let a node take a turn, and perform what it asks for, in the promised order; also if the
        deed raises, like `Peer`."""
        turn = Turn(self.now, self.now, self.actors[name].sequence + 1)
        try:
            deed(turn)
        finally:
            self._perform(name, turn)
        return turn

    def _perform(self, name: str, turn: Turn) -> None:
        actor = self.actors[name]
        actor.facts += turn.facts
        actor.committed += turn.committed
        actor.reads += turn.reads
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
        self.act(name, self[name].elections.campaign)
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

    def change(self, name: str, *changes: Change, transition: Transition = Transition.AUTO) -> None:
        """Begin a change of the configuration, or raise what the node raises."""
        self.act(name, lambda turn: self[name].change(turn, changes, transition))

    def transfer(self, name: str, to: str) -> None:
        self.act(name, lambda turn: self[name].transfer(turn, NodeId(to)))

    def read(self, name: str, context: object, lease: bool = False) -> None:
        """Ask for a read; what may be answered is in `reads`."""
        self.act(name, lambda turn: self[name].read_index(turn, context, lease))

    def reads(self, name: str) -> list[tuple[object, int]]:
        return self.actors[name].reads

    def compact(self, name: str, index: int, state: bytes = b"state") -> None:
        self.act(name, lambda turn: self[name].snapshots.compact(turn, index, state))

    def crash(self, name: str) -> None:
        """The node stops and starts again with what its disk kept; its letters may still arrive."""
        actor = self.actors[name]
        self.actors[name] = Actor(self._machine(name, actor.disk.restored()), actor.disk)

    def said(self, name: str, to: str = "") -> list[OfLog]:
        """What lies on the wire from a node."""
        return [
            letter.message
            for letter in self.wire
            if letter.sender == name and to in ("", letter.receiver)
        ]

    def reply(self, name: str) -> OfLog:
        """What a node said last."""
        return self.said(name)[-1]

    def leadership(self, name: str) -> Leadership:
        found = self[name].leadership
        assert found is not None, f"{name} does not lead"
        return found

    def progress(self, leader: str, follower: str) -> Progress:
        """What a leader knows of a follower."""
        return self.leadership(leader).progress[NodeId(follower)]

    def terms(self, name: str) -> list[int]:
        """The terms in a node's log."""
        log = self[name].log
        return [log.entry(index).term for index in range(log.first_index, log.last_index + 1)]

    def commands(self, name: str) -> list[bytes]:
        """The commands that a node knows to be committed."""
        return [
            item.data
            for item in self.actors[name].committed
            if isinstance(item, LogEntry) and item.kind is EntryKind.COMMAND
        ]
