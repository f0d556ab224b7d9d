"""Elections, the log and its snapshots, voters and sessions."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.facts import Fact
from protocol.identity import NodeId


@dataclass(frozen=True, slots=True)
class RoleChanged(Fact):
    """This node became follower, candidate or leader."""

    mark = "="
    role: str
    term: int


@dataclass(frozen=True, slots=True)
class LeaderElected(Fact):
    """This node knows who leads `term`; leader is empty when it lost sight of one."""

    mark = "="
    term: int
    leader: NodeId


@dataclass(frozen=True, slots=True)
class VoteGranted(Fact):
    mark = "="
    term: int
    candidate: NodeId


@dataclass(frozen=True, slots=True)
class EntryCommitted(Fact):
    """`checksum` identifies the entry's content, so that two nodes' logs can be compared."""

    mark = "="
    index: int
    term: int
    checksum: str


@dataclass(frozen=True, slots=True)
class LogTruncated(Fact):
    """Entries from `index` on were in conflict with the leader's and are gone."""

    mark = "="
    index: int


@dataclass(frozen=True, slots=True)
class VotersChanged(Fact):
    """The configuration at `index` is in force; `outgoing` is empty outside joint consensus."""

    mark = "="
    index: int
    voters: tuple[NodeId, ...]
    outgoing: tuple[NodeId, ...]
    learners: tuple[NodeId, ...]


@dataclass(frozen=True, slots=True)
class LeaderResigned(Fact):
    """This node stepped down by itself."""

    mark = "="
    term: int
    reason: str


@dataclass(frozen=True, slots=True)
class TransferBegan(Fact):
    """This leader hands over to `to` as soon as that has the whole log."""

    mark = "="
    term: int
    to: NodeId


@dataclass(frozen=True, slots=True)
class TransferEnded(Fact):
    """The transfer to `to` was given up: this node leads on."""

    mark = "="
    term: int
    to: NodeId
    reason: str


@dataclass(frozen=True, slots=True)
class LogCompacted(Fact):
    """A snapshot of `size` bytes stands for the log up to `index`."""

    mark = "="
    index: int
    size: int


@dataclass(frozen=True, slots=True)
class SnapshotInstalled(Fact):
    """A snapshot from `sender` took the place of the log up to `index`."""

    mark = "="
    index: int
    size: int
    sender: NodeId


@dataclass(frozen=True, slots=True)
class EntriesLost(Fact):
    """`node` had acknowledged entries up to `matched`, and now its log ends at `last`: its disk
    has lost what it said was durable."""

    mark = "!"
    node: NodeId
    matched: int
    last: int


@dataclass(frozen=True, slots=True)
class ChainBroken(Fact):
    """Entries from `sender` up to `index` do not lead to the chain that they should."""

    mark = "!"
    sender: NodeId
    index: int


@dataclass(frozen=True, slots=True)
class ImpairmentEnded(Fact):
    """This node lost part of its journal and did not vote; now that it is agreed that it does not,
    it may be made a voter again."""

    mark = "="
    commit: int


@dataclass(frozen=True, slots=True)
class SessionOpened(Fact):
    """`node` may write to the registers under the session `number`."""

    mark = "="
    node: NodeId
    nonce: str
    number: int


@dataclass(frozen=True, slots=True)
class BatchOutOfOrder(Fact):
    """The log has commands of a session from `first` on, but `expected` is the next one: earlier
    ones are on their way, or lost. Nothing was done."""

    mark = "="
    session: int
    expected: int
    first: int


@dataclass(frozen=True, slots=True)
class SessionExpired(Fact):
    """A batch came for a session that is forgotten, or never was."""

    mark = "!"
    number: int


@dataclass(frozen=True, slots=True)
class LogRescued(Fact):
    """On an operator's word this node's log stands for the team's, in a new epoch, with this node
    as its only voter."""

    mark = "!"
    epoch: int
    index: int


@dataclass(frozen=True, slots=True)
class SnapshotIllegible(Fact):
    """A snapshot of the log up to `index` came whole from `source`, but this node cannot read it:
    it keeps the state that it has, and will not get beyond."""

    mark = "!"
    index: int
    source: NodeId
    reason: str


@dataclass(frozen=True, slots=True)
class StateReplaced(Fact):
    """A snapshot up to `index` took the place of what had been applied; with 0, another log is
    followed from its beginning."""

    mark = "="
    index: int


@dataclass(frozen=True, slots=True)
class LogGivenUp(Fact):
    """This node founded a log, and found a team that has one already: it joins that."""

    mark = "="
    own: str
    other: str


@dataclass(frozen=True, slots=True)
class LogsDiffer(Fact):
    """`node` follows a log that was founded apart, and neither can be given up: two teams have met.
    Or one that was rescued apart from this one: an operator has to rescue one of the two once more.
    They exchange entries of the store, and agree on nothing."""

    mark = "!"
    node: NodeId
    own: str
    other: str
