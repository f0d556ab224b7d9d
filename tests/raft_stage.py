"""Several `RaftNode`s with a wire between them, disks that may be slow, and a transcript.

    stage = Stage("abc")
    stage.campaign("a")            one verb, one heading in the transcript
    stage.run()                    deliver until nothing is on its way
    print(stage.transcript())

This host does what the text of `protocol.raft.by_hand` asks of one, and nothing else: messages go
out, records become durable in their order, then what waited for them goes out, and the node is
told. A transcript has a line for each fact, each message and each write:

    a = RoleChanged role=leader term=2        a fact, with its own mark
    a > b  append 7: after 3/2, 1 entry       a message goes out; 3/2 is index 3 of term 2
    a < b  has 1 to 4, answers 7              a message comes in
    a [2] ...                                 write number 2 is asked for, or is durable
    a applied 4                               the state machine has it
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from raft_words import told, told_log, told_record, told_voters

from protocol.clocks import Nanoseconds
from protocol.config import RaftConfig
from protocol.configuration import Change, Transition
from protocol.effects import (
    HardState,
    Record,
    Snapshot,
)
from protocol.errors import Busy, ChangeRefused, NotLeader
from protocol.facts import Fact
from protocol.facts.agreement import EntryCommitted
from protocol.identity import NOBODY, NodeId
from protocol.messages.agreement import EntryKind, LogEntry, OfRaft
from protocol.raft.by_hand import RaftNode
from protocol.sim.disk import Disk

CONFIG = RaftConfig()
DELIVERIES_MAX = 5_000  # in one `run`: more is a storm


@dataclass(frozen=True, slots=True)
class Letter:
    """A message on its way."""

    sender: str
    receiver: str
    message: OfRaft


@dataclass(slots=True)
class Write:
    """What a disk has to do, and what goes out when it has."""

    sequence: int
    records: tuple[Record, ...]
    after: tuple[tuple[NodeId, OfRaft], ...]


@dataclass(slots=True)
class Seat:
    """One node, its disk, and its state machine: a digest over the commands applied so far."""

    node: RaftNode
    disk: Disk
    writes: deque[Write] = field(default_factory=deque)
    applied: int = 0
    state: bytes = b""
    is_writing: bool = False
    reads: list[tuple[object, int]] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)


class Stage:
    """See the module's text."""

    def __init__(
        self,
        names: str,
        voters: str | None = None,
        learners: str = "",
        config: RaftConfig = CONFIG,
        logs: dict[str, tuple[LogEntry, ...]] | None = None,
        terms: dict[str, int] | None = None,
        seed: str = "",
    ) -> None:
        """All but the voters and learners begin with an empty log. `logs` gives a node other
        entries than just the configuration, `terms` another term than the last of them."""
        self.config = config
        self.seed = seed
        self.wire: list[Letter] = []
        self.cut: set[tuple[str, str]] = set()
        self.slow_disks: set[str] = set()
        self.seats: dict[str, Seat] = {}
        self.lines: list[str] = []
        self.is_quiet = False
        for name in names:
            inside = name in (voters or names) or name in learners
            disk = Disk()
            if logs and name in logs:
                term = (terms or {}).get(name, logs[name][-1].term)
                disk.hard_state, disk.entries = HardState(term, NOBODY), list(logs[name])
            elif inside:
                node = RaftNode(name, voters=tuple(voters or names), learners=tuple(learners))
                disk.hard_state = HardState(node.raft.term, NOBODY)
                disk.entries = [node.raft.log.entry(1)]
            self.seats[name] = Seat(self._node(name, disk, 0), disk)

    def _node(self, name: str, disk: Disk, now: Nanoseconds) -> RaftNode:
        return RaftNode(name, config=self.config, restored=disk.restored(), seed=self.seed, now=now)

    def __getitem__(self, name: str) -> RaftNode:
        return self.seats[name].node

    # -- what the host does ------------------------------------------------------------------------

    def perform(self, name: str) -> None:
        """Do what the node asks for."""
        seat = self.seats[name]
        ready = seat.node.ready()
        for fact in ready.facts:
            seat.facts.append(fact)
            if not isinstance(fact, EntryCommitted):
                self.say(f"{name} {fact}")
        for receiver, message in ready.messages:
            self.post(name, receiver, message)
        if ready.sequence:
            seat.writes.append(Write(ready.sequence, ready.records, ready.messages_after))
            if ready.records:
                told = "; ".join(map(told_record, ready.records))
                self.say(f"{name} [{ready.sequence}] writes {told}")
        else:
            for receiver, message in ready.messages_after:
                self.post(name, receiver, message)
        for item in ready.committed:
            self.apply(seat, item)
        if ready.committed:
            self.say(f"{name} applied {seat.applied}")
        for context, index in ready.reads:
            seat.reads.append((context, index))
            self.say(f"{name} may read {context} at {index}")
        if name not in self.slow_disks and not seat.is_writing:
            seat.is_writing = True
            while seat.writes:
                self.write(name)
            seat.is_writing = False

    def write(self, name: str) -> None:
        """The oldest write of a node becomes durable."""
        seat = self.seats[name]
        write = seat.writes.popleft()
        seat.disk.write(write.records)
        if name in self.slow_disks:
            self.say(f"{name} [{write.sequence}] is durable")
        for receiver, message in write.after:
            self.post(name, receiver, message)
        seat.node.persisted(write.sequence)
        self.perform(name)

    def apply(self, seat: Seat, item: LogEntry | Snapshot) -> None:
        if isinstance(item, Snapshot):
            seat.applied, seat.state = item.index, item.state
            return
        assert item.index == seat.applied + 1, "entries come in order, each once"
        seat.applied = item.index
        if item.kind is EntryKind.COMMAND:
            seat.state = next_state(seat.state, item.data)

    def post(self, sender: str, receiver: str, message: OfRaft) -> None:
        if (sender, receiver) in self.cut or receiver not in self.seats:
            self.say(f"{sender} > {receiver}  lost: {told(message)}")
            return
        self.say(f"{sender} > {receiver}  {told(message)}")
        self.wire.append(Letter(sender, receiver, message))

    def hand_over(self, letter: Letter) -> None:
        """The receiver takes a message."""
        self.say(f"{letter.receiver} < {letter.sender}  {told(letter.message)}")
        self[letter.receiver].step(letter.sender, letter.message)
        self.perform(letter.receiver)

    # -- verbs: the wire and time ------------------------------------------------------------------

    def deliver(self, sender: str = "", receiver: str = "") -> bool:
        """Hand over the oldest letter that fits, if there is one."""
        for at, letter in enumerate(self.wire):
            if sender in ("", letter.sender) and receiver in ("", letter.receiver):
                del self.wire[at]
                self.hand_over(letter)
                return True
        return False

    def run(self) -> None:
        """Deliver until nothing is on its way."""
        for _ in range(DELIVERIES_MAX):
            if not self.deliver():
                return
        raise AssertionError("the messages never end")

    def lose(self, sender: str = "", receiver: str = "") -> None:
        """Drop what is on its way."""
        kept = []
        for letter in self.wire:
            if sender in ("", letter.sender) and receiver in ("", letter.receiver):
                self.say(f"# lost: {letter.sender} > {letter.receiver}  {told(letter.message)}")
            else:
                kept.append(letter)
        self.wire = kept

    def isolate(self, name: str) -> None:
        self.head(f"{name} is cut off")
        for other in self.seats:
            self.cut |= {(name, other), (other, name)}

    def heal(self) -> None:
        self.head("the network is whole again")
        self.cut.clear()

    def pass_time(self, duration: Nanoseconds, *names: str) -> None:
        """Time goes by, and these nodes (or all) serve their timers on the way."""
        self.head(f"{duration // 1_000_000} ms go by")
        for name in self.seats:
            if not names or name in names:
                self[name].advance(duration)
                self.perform(name)
            else:
                self[name].now += duration

    def heartbeat(self, name: str) -> None:
        """A heartbeat interval goes by at a leader, and everybody answers."""
        for other in self.seats:
            self[other].now += self.config.heartbeat_ns
        self.head(f"{name} sends heartbeats")
        self[name].tick()
        self.perform(name)
        self.run()

    def live(self, leader: str, beats: int) -> None:
        """Everybody serves timers for so many heartbeats of the leader, and all is delivered."""
        for _ in range(beats):
            for name in (leader, *(name for name in self.seats if name != leader)):
                self[name].advance(self.config.heartbeat_ns)
                self.perform(name)
            self.run()

    def expire_promises(self) -> None:
        """So much time goes by unseen that nobody holds back a vote any more."""
        for seat in self.seats.values():
            seat.node.now += self.config.election_timeout_ns

    # -- verbs: what is asked of a node ------------------------------------------------------------

    def ask(self, name: str, heading: str, deed: Callable[[RaftNode], object]) -> object:
        """One call of a node; what it refuses is told."""
        self.head(heading)
        try:
            found = deed(self[name])
        except (NotLeader, Busy, ChangeRefused) as refusal:
            self.say(f"{name} {type(refusal).__name__}: {refusal}")
            found = None
        self.perform(name)
        return found

    def campaign(self, name: str) -> None:
        self.ask(name, f"{name} campaigns", lambda node: node.campaign())

    def elect(self, name: str) -> None:
        """The shortest way to a leader, unseen."""
        self.expire_promises()
        self.hush(lambda: self.campaign(name))
        self.hush(self.run)
        assert self[name].status().role == "leader", self[name]
        self.say(f"# {name} leads term {self[name].raft.term}, {self[name].raft.commit} committed")

    def propose(self, name: str, data: bytes) -> None:
        self.ask(name, f"{name} proposes {data.decode()}", lambda node: node.propose(data))

    def change(self, name: str, *changes: Change, transition: Transition = Transition.AUTO) -> None:
        words = ", ".join(map(str, changes))
        kind = "" if transition is Transition.AUTO else f" ({transition.value})"
        self.ask(
            name,
            f"{name} changes the configuration: {words}{kind}",
            lambda node: node.change(*changes, transition=transition),
        )

    def leave_joint(self, name: str) -> None:
        self.ask(name, f"{name} leaves the joint configuration", lambda node: node.leave_joint())

    def transfer(self, name: str, to: str) -> None:
        self.ask(name, f"{name} hands over to {to}", lambda node: node.transfer(to))

    def read(self, name: str, context: object, lease: bool = False) -> None:
        kind = "by lease" if lease else "by index"
        self.ask(name, f"{name} reads {context} {kind}", lambda n: n.read_index(context, lease))

    def compact(self, name: str, index: int | None = None) -> None:
        """Snapshot the state machine as it is; by `index` no later one is possible."""
        seat = self.seats[name]
        at = seat.applied if index is None else index
        assert at == seat.applied, "the state is kept of the latest index only"
        self.ask(name, f"{name} compacts to {at}", lambda node: node.compact(at, seat.state))

    def crash(self, name: str, writes: int = 0) -> None:
        """The node stops after so many of its writes, and starts again with what its disk kept."""
        seat = self.seats[name]
        for write in list(seat.writes)[:writes]:
            seat.disk.write(write.records)
        self.head(f"{name} crashes and starts again")
        new = Seat(self._node(name, seat.disk, seat.node.now), seat.disk)
        if seat.disk.snapshot:
            new.applied, new.state = seat.disk.snapshot.index, seat.disk.snapshot.state
        new.facts, new.reads = seat.facts, seat.reads
        self.seats[name] = new
        self.perform(name)

    def finish_disks(self) -> None:
        """All disks are fast again."""
        self.slow_disks.clear()
        for name in self.seats:
            self.perform(name)

    # -- the transcript ----------------------------------------------------------------------------

    def hush(self, deed: Callable[[], object]) -> None:
        """Do something that is not told."""
        was_quiet, self.is_quiet = self.is_quiet, True
        deed()
        self.is_quiet = was_quiet

    def say(self, line: str) -> None:
        if not self.is_quiet:
            self.lines.append(line)

    def head(self, heading: str) -> None:
        self.say(f"\n-- {heading}")

    def note(self, text: str) -> None:
        """A remark for the reader."""
        self.say(f"\n# {text}")

    def show(self, *names: str) -> None:
        """The state of nodes, each in one line; at a leader also its followers' progress."""
        for name in names or self.seats:
            status = self[name].status()
            self.say(
                f"   {name}: {status.role} term={status.term} leader={status.leader or '-'} "
                f"log={told_log(self[name])} commit={status.commit} {told_voters(self[name])}"
            )
            for follower, words in status.progress:
                self.say(f"      {follower}: {words}")

    def transcript(self) -> str:
        return "\n".join(self.lines).strip("\n") + "\n"


def next_state(state: bytes, command: bytes) -> bytes:
    return hashlib.sha256(state + command).hexdigest().encode()
