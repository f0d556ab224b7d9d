"""Raft for hosts of any kind: a node that is called by hand, and says what is to be done.

    node = RaftNode("a", voters=("a", "b", "c"))
    node.campaign()                       or node.step(sender, message), node.advance(nanoseconds)
    ready = node.ready()
    send each of ready.messages; make ready.records durable; then, and not before:
    send each of ready.messages_after; node.persisted(ready.sequence)
    apply ready.committed to the state machine; answer ready.reads once their index is applied

The write may take as long as it likes: other calls and other `ready` go on meanwhile, as long as
writes become durable in their order. Calls raise NotLeader, Busy or ChangeRefused if nothing was
done, and RemoteProtocolError for a message that no correct node sends.

There is no clock in it: `now` moves when the host calls `advance`, and with it the time-outs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from protocol import codec
from protocol.clocks import Nanoseconds
from protocol.config import RaftConfig
from protocol.configuration import Change, Configuration, Transition
from protocol.effects import HardState, Record, Restored, Snapshot
from protocol.facts import Fact
from protocol.identity import NOBODY, NodeId
from protocol.messages.agreement import EntryKind, LearnRequest, LogEntry, OfRaft
from protocol.raft.core import Raft
from protocol.raft.status import RaftStatus
from protocol.turn import Turn


@dataclass(frozen=True, slots=True)
class Position:
    """Where a proposal lies. The entry at `index` is the proposed one only if its term is this."""

    index: int
    term: int


@dataclass(frozen=True, slots=True)
class Ready:
    """What the host has to do, in this order. `sequence` numbers the write that `messages_after`
    wait for, with all before it; 0 if they need not wait."""

    messages: tuple[tuple[NodeId, OfRaft], ...]
    records: tuple[Record, ...]
    sequence: int
    messages_after: tuple[tuple[NodeId, OfRaft], ...]
    committed: tuple[LogEntry | Snapshot, ...]
    reads: tuple[tuple[object, int], ...]
    facts: tuple[Fact, ...]


class RaftNode:
    """See the module's text. `raft` is the machine itself, for reading."""

    def __init__(
        self,
        node: str,
        voters: Sequence[str] = (),
        learners: Sequence[str] = (),
        config: RaftConfig | None = None,
        restored: Restored | None = None,
        seed: str = "",
        now: Nanoseconds = 0,
    ) -> None:
        """With `voters` the node begins with a log that holds just their configuration, as entry 1
        of term 1, the same on all that are given the same; with `restored` it goes on from there;
        with neither it has an empty log and waits to be told."""
        assert not (voters and restored), "either a first configuration or what was kept"
        if voters:
            found = Configuration(
                tuple(sorted(NodeId(voter) for voter in voters)),
                learners=tuple(sorted(NodeId(learner) for learner in learners)),
            )
            first = LogEntry(1, 1, EntryKind.VOTERS, codec.pack_value(found))
            restored = Restored(HardState(1, NOBODY), entries=(first,))
        self.now = now
        self.raft = Raft(
            NodeId(node),
            config or RaftConfig(),
            Random(f"{seed}/{node}"),
            restored or Restored(),
            now,
        )
        self._sequence = 0
        self._persisted = 0
        self._turn = self._new_turn()

    def __repr__(self) -> str:
        return repr(self.raft)

    def status(self) -> RaftStatus:
        """Role, term, leader, indexes, configuration; at a leader also each follower's progress."""
        return self.raft.status()

    # -- time ------------------------------------------------------------------------------------

    def deadline(self) -> Nanoseconds | None:
        """When `tick` is due; None if never."""
        return self.raft.deadline()

    def advance(self, duration: Nanoseconds) -> None:
        """Let time go by, and serve each deadline on the way at its time."""
        until = self.now + duration
        while (due := self.deadline()) is not None and due <= until:
            self.now = max(self.now, due)
            self.tick()
        self.now = until

    def tick(self) -> None:
        """Serve the deadlines that have come."""
        self.raft.tick(self._at_now())

    # -- inputs ----------------------------------------------------------------------------------

    def step(self, sender: str, message: OfRaft) -> None:
        """Take a message from another node."""
        self.raft.step(self._at_now(), NodeId(sender), message)

    def persisted(self, sequence: int) -> None:
        """The write of the Ready with this sequence, and all before it, are durable."""
        assert sequence <= self._sequence, "that was never asked for"
        self._persisted = max(self._persisted, sequence)
        self.raft.persisted(self._at_now(), sequence)

    def propose(self, data: bytes) -> Position:
        """Append a command at the leader. NotLeader, Busy."""
        index = self.raft.propose(self._at_now(), data)
        return Position(index, self.raft.term)

    def campaign(self) -> None:
        """Try to become leader now, or as soon as the promise to the present leader is over (at
        most `RaftConfig.lease_ns`). Nothing happens at a node that may not."""
        if self.raft.leadership is None:
            self.raft.elections.campaign(self._at_now())

    def transfer(self, to: str) -> None:
        """Hand leadership over. NotLeader, ChangeRefused."""
        self.raft.transfer(self._at_now(), NodeId(to))

    def change(self, *changes: Change, transition: Transition = Transition.AUTO) -> Position:
        """Change voters and learners. NotLeader, ChangeRefused."""
        index = self.raft.change(self._at_now(), changes, transition)
        return Position(index, self.raft.term)

    def leave_joint(self) -> Position:
        """Leave a joint configuration that was entered with Transition.EXPLICIT."""
        index = self.raft.leave_joint(self._at_now())
        return Position(index, self.raft.term)

    def read_index(self, context: object, lease: bool = False) -> None:
        """Ask when a read is linearizable; the answer is in `Ready.reads`. NotLeader, Busy."""
        self.raft.read_index(self._at_now(), context, lease)

    def confirm_settled(self, index: int) -> None:
        """For a node that is impaired: this was the answer to `read_index` at a leader that was
        asked since this node started, while no change of its voters was under way."""
        self.raft.impairment.confirmed(self._at_now(), index)

    def forget_leader(self) -> None:
        """Follow nobody, so that pre-votes are granted before the time-out."""
        self.raft.elections.forget_leader(self._at_now())

    def lose_leader(self) -> None:
        """There is evidence that the leader is gone: campaign soon."""
        self.raft.elections.lose_leader(self._at_now(), self.raft.leader)

    def lacking(self) -> LearnRequest:
        """What to ask anybody for, at a node that gets nothing from a leader: see `Learned`."""
        return self.raft.following.lacking()

    def unreachable(self, node: str) -> None:
        """Messages to `node` could not be delivered."""
        self.raft.unreachable(self._at_now(), NodeId(node))

    def compact(self, index: int, state: bytes) -> None:
        """Let `state`, the state machine after `index`, stand for the log up to there."""
        self.raft.snapshots.compact(self._at_now(), index, state)

    # -- outputs ---------------------------------------------------------------------------------

    def ready(self) -> Ready:
        """All that is to be done since the last call."""
        turn = self._turn
        outstanding = self._sequence > self._persisted
        if turn.records or (turn.after and outstanding):
            self._sequence = turn.sequence
        ready = Ready(
            tuple(_letters(turn.before)),
            tuple(turn.records),
            self._sequence if turn.records or (turn.after and outstanding) else 0,
            tuple(_letters(turn.after)),
            tuple(turn.committed),
            tuple(turn.reads),
            tuple(turn.facts),
        )
        self._turn = self._new_turn()
        return ready

    def _new_turn(self) -> Turn:
        return Turn(self.now, self.now, self._sequence + 1)

    def _at_now(self) -> Turn:
        self._turn.now = self.now
        return self._turn


def _letters(outgoing: Sequence[object]) -> list[tuple[NodeId, OfRaft]]:
    found = []
    for item in outgoing:
        assert isinstance(item, tuple)
        destination, _, message = item
        found.append((destination, message))
    return found
