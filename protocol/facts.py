"""Facts: what happened, in the past tense, one small frozen class each.

Machines speak to each other only through facts that `Peer` carries; logs, progress, checkers and
studies read the same stream. A fact's `str` is one log line and begins with its mark:

    <  came in      >  went out      =  role or agreement      ~  membership
    *  task         +  store         !  error
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

from protocol.identity import NodeId


@dataclass(frozen=True, slots=True)
class Fact:
    """Base of all facts."""

    mark: ClassVar[str] = "?"

    def __str__(self) -> str:
        kind = type(self)
        names = _NAMES.get(kind)
        if names is None:
            names = _NAMES[kind] = tuple(field.name for field in fields(self))
        details = " ".join([f"{name}={_plain(getattr(self, name))}" for name in names])
        return f"{self.mark} {kind.__name__} {details}".rstrip()


_NAMES: dict[type[Fact], tuple[str, ...]] = {}  # the fields of each kind; asking is slow


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(_plain(item) for item in value)
    text = str(value)
    return repr(text) if " " in text or "\n" in text or not text else text


# -- membership ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MemberJoined(Fact):
    """A node is in the team for the first time, or again after it had failed or left."""

    mark = "~"
    node: NodeId
    name: str
    endpoint: str


@dataclass(frozen=True, slots=True)
class MemberSuspected(Fact):
    mark = "~"
    node: NodeId
    by: NodeId


@dataclass(frozen=True, slots=True)
class MemberRefuted(Fact):
    """A suspected node proved to be alive."""

    mark = "~"
    node: NodeId
    incarnation: int


@dataclass(frozen=True, slots=True)
class MemberChanged(Fact):
    """A living node has something new to say of itself: its metadata."""

    mark = "~"
    node: NodeId


@dataclass(frozen=True, slots=True)
class MemberFailed(Fact):
    """`evidence`: `refused` (its process has ended), `silence`, or `deaf` (it speaks and does not
    answer)."""

    mark = "~"
    node: NodeId
    by: NodeId
    evidence: str


@dataclass(frozen=True, slots=True)
class MemberLeft(Fact):
    mark = "~"
    node: NodeId


@dataclass(frozen=True, slots=True)
class MemberForgotten(Fact):
    """A node that failed or left long ago, or that the operator wants to hear no more of."""

    mark = "~"
    node: NodeId


@dataclass(frozen=True, slots=True)
class MemberDegraded(Fact):
    """It comes and goes: nothing is built on it until it is steady."""

    mark = "!"
    node: NodeId


@dataclass(frozen=True, slots=True)
class MemberSteady(Fact):
    """A degraded member has been there for a while."""

    mark = "~"
    node: NodeId


@dataclass(frozen=True, slots=True)
class NameClaimedTwice(Fact):
    """Two keys use one name. A node is its key, so both stay; who asks by name gets both."""

    mark = "!"
    name: str
    node: NodeId
    other: NodeId


@dataclass(frozen=True, slots=True)
class LinkBroken(Fact):
    """Neither reaches the other directly, and others reach both."""

    mark = "!"
    one: NodeId
    other: NodeId


@dataclass(frozen=True, slots=True)
class LinkOneWay(Fact):
    """What `speaker` sends reaches `hearer`, and nothing the other way."""

    mark = "!"
    speaker: NodeId
    hearer: NodeId


@dataclass(frozen=True, slots=True)
class LinkMended(Fact):
    mark = "~"
    one: NodeId
    other: NodeId


@dataclass(frozen=True, slots=True)
class TeamSplit(Fact):
    """So many nodes are on this side of a cut, this one included, and so many have fallen silent
    together."""

    mark = "!"
    here: int
    there: int


@dataclass(frozen=True, slots=True)
class Isolated(Fact):
    """Everybody else has fallen silent: it is this node that is cut off."""

    mark = "!"
    lost: int


@dataclass(frozen=True, slots=True)
class TeamWhole(Fact):
    """Nobody is missed any more; `size` counts this node."""

    mark = "~"
    size: int


@dataclass(frozen=True, slots=True)
class PausedHere(Fact):
    """This node stood still for so long; what it waited for meanwhile counts for nothing."""

    mark = "!"
    milliseconds: int


@dataclass(frozen=True, slots=True)
class SeedUnreachable(Fact):
    """A seed address did not answer; it is tried again for ever."""

    mark = "!"
    endpoint: str
    reason: str


@dataclass(frozen=True, slots=True)
class AddressObserved(Fact):
    """Another node sees this one's connections come from this address, which is new."""

    mark = "~"
    address: str
    by: NodeId


# -- agreement -------------------------------------------------------------------------------


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


# -- store -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BatchMerged(Fact):
    """Entries of `author` up to `last` were new here; `keys` are those they wrote."""

    mark = "+"
    author: NodeId
    first: int
    last: int
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BatchRefused(Fact):
    mark = "!"
    author: NodeId
    sender: NodeId
    reason: str


@dataclass(frozen=True, slots=True)
class AuthorForked(Fact):
    """An author has signed two histories: a node runs twice under one key, or lies. Nothing more of
    it is taken."""

    mark = "!"
    author: NodeId


@dataclass(frozen=True, slots=True)
class BatchCollected(Fact):
    """A batch that begins there was dropped: every member has it, and nothing of it counts."""

    mark = "+"
    author: NodeId
    first: int


@dataclass(frozen=True, slots=True)
class HistorySkipped(Fact):
    """Entries of an author that had been collected before they came here."""

    mark = "+"
    author: NodeId
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class ReturnedLate(Fact):
    """This node was away for so long that it had to ask what still counts; so many of its batches
    did not."""

    mark = "+"
    dropped: int


@dataclass(frozen=True, slots=True)
class EventReceived(Fact):
    """`origin` told everybody something, so long ago by the two nodes' clocks."""

    mark = "<"
    name: str
    origin: NodeId
    number: int
    payload: str
    age_ms: int


@dataclass(frozen=True, slots=True)
class BlobComplete(Fact):
    """All parts of a blob are here."""

    mark = "+"
    blob: str
    size: int


@dataclass(frozen=True, slots=True)
class SiblingsFound(Fact):
    """A key has values written without knowledge of each other; all are kept."""

    mark = "+"
    key: str
    authors: tuple[NodeId, ...]


# -- team ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class JobSubmitted(Fact):
    mark = "*"
    job: str
    index: int
    tasks: int


@dataclass(frozen=True, slots=True)
class JobRefused(Fact):
    """The log has the submission, and every ledger refuses it."""

    mark = "!"
    job: str
    reason: str


@dataclass(frozen=True, slots=True)
class TaskClaimed(Fact):
    """`node` holds the task; seen by every node, each at its own time."""

    mark = "*"
    job: str
    task: str
    slot: int
    node: NodeId
    token: int


@dataclass(frozen=True, slots=True)
class ClaimLost(Fact):
    """Two nodes claimed at once and this one gave way to `winner`."""

    mark = "*"
    job: str
    task: str
    slot: int
    winner: NodeId


@dataclass(frozen=True, slots=True)
class LeaseExpired(Fact):
    """The holder was not heard of in time, or failed; the task may be taken over."""

    mark = "*"
    job: str
    task: str
    slot: int
    node: NodeId
    token: int


@dataclass(frozen=True, slots=True)
class TaskFenced(Fact):
    """From log `index` on, results under a token below `token` are refused: the holder was given
    up on, or gave up."""

    mark = "*"
    job: str
    task: str
    slot: int
    token: int
    index: int


@dataclass(frozen=True, slots=True)
class TaskStarted(Fact):
    """This node's agent began."""

    mark = "*"
    job: str
    task: str
    slot: int
    token: int


@dataclass(frozen=True, slots=True)
class TaskCompleted(Fact):
    """This node's agent ended with a verified result, not yet accepted."""

    mark = "*"
    job: str
    task: str
    slot: int
    token: int
    digest: str


@dataclass(frozen=True, slots=True)
class AttemptFailed(Fact):
    mark = "!"
    job: str
    task: str
    slot: int
    token: int
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class AttemptAborted(Fact):
    """This node stopped its agent: the work was done or owned elsewhere."""

    mark = "*"
    job: str
    task: str
    slot: int
    token: int
    reason: str


@dataclass(frozen=True, slots=True)
class TaskAccepted(Fact):
    """The acceptance at log `index` is committed: there is never a second one."""

    mark = "*"
    job: str
    task: str
    node: NodeId
    token: int
    digest: str
    index: int


@dataclass(frozen=True, slots=True)
class ResultLate(Fact):
    """A result that came too late or from a fenced holder: evidence, not accepted."""

    mark = "*"
    job: str
    task: str
    node: NodeId
    token: int
    digest: str
    index: int


@dataclass(frozen=True, slots=True)
class TaskAbandoned(Fact):
    """The task ran out of attempts; what needs it cannot be done."""

    mark = "!"
    job: str
    task: str
    reason: str
    index: int


@dataclass(frozen=True, slots=True)
class JobFinished(Fact):
    """Every task is accepted, abandoned or out of reach. `succeeded` means all accepted."""

    mark = "*"
    job: str
    succeeded: bool
    outcome: str
    index: int


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


@dataclass(frozen=True, slots=True)
class RequestRefused(Fact):
    """A client's or peer's request could not be served."""

    mark = "!"
    reason: str
