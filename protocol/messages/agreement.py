"""Agreement (Raft: Ongaro and Ousterhout 2014; Ongaro's thesis), and passing it on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from protocol.identity import NodeId


class EntryKind(Enum):
    """What a log entry holds."""

    NOOP = 0  # a new leader's first entry (thesis, section 6.4), which names it
    COMMAND = 1  # for the ledger
    VOTERS = 2  # a configuration (thesis, section 4.3)
    SESSION = 3  # a client's session begins (thesis, section 6.3)
    BATCH = 4  # commands of one session, for the registers


@dataclass(frozen=True, slots=True)
class LogEntry:
    index: int
    term: int
    kind: EntryKind
    data: bytes


@dataclass(frozen=True, slots=True)
class VoteRequest:
    """RequestVote; with `pre` set it asks whether a vote would be granted (thesis, 9.6). With
    `transfer` set the leader itself has asked for this election (3.10). `reach` is how many voters,
    itself included, the candidate has heard from directly of late."""

    term: int
    last_index: int
    last_term: int
    pre: bool
    transfer: bool
    reach: int


@dataclass(frozen=True, slots=True)
class VoteReply:
    """`asked` is the term of the request that this answers."""

    term: int
    asked: int
    granted: bool
    pre: bool


@dataclass(frozen=True, slots=True)
class Append:
    """AppendEntries. `request` numbers all messages of a leader within its term; 0 wants no answer
    unless the logs do not match (it only tells the commit index)."""

    term: int
    request: int
    previous_index: int
    previous_term: int
    entries: tuple[LogEntry, ...]
    commit: int


@dataclass(frozen=True, slots=True)
class AppendReply:
    """Answers `request` of term `asked`. On success `index` is the highest entry known to match and
    durable here; otherwise it is where to try next: the first index of the conflicting term, or
    the end of a short log. `last_index` is the end of the log here."""

    term: int
    asked: int
    request: int
    success: bool
    index: int
    last_index: int


@dataclass(frozen=True, slots=True)
class SnapshotPart:
    """Bytes of a snapshot of the log up to `index`, from `offset` on (paper, section 7; thesis,
    5.1). `digest` is SHA-256 over the whole, which has `size` bytes and is the same on every node,
    so that parts of one may come from several. With request 0 it answers a LearnRequest."""

    term: int
    request: int
    index: int
    digest: bytes
    size: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class SnapshotReply:
    """`offset` bytes are here; when that is all, the snapshot is durable and in force."""

    term: int
    asked: int
    request: int
    index: int
    offset: int


@dataclass(frozen=True, slots=True)
class TimeoutNow:
    """From the leader: campaign at once, you shall lead (thesis, section 3.10)."""

    term: int


@dataclass(frozen=True, slots=True)
class Resigned:
    """From a leader that has stepped down in this term: do not wait for it."""

    term: int


SETTLED_FROM = 2**62


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """Which index must be applied before a read is linearizable (ReadIndex; thesis, 6.4)? `lease`
    allows the answer from a lease (6.4.1). From the number SETTLED_FROM on there is no answer while
    a change of the voters is under way."""

    read: int
    lease: bool


@dataclass(frozen=True, slots=True)
class ReadReply:
    """`read` may be answered by whoever has applied `index`."""

    read: int
    index: int


@dataclass(frozen=True, slots=True)
class Propose:
    """Something for the leader to append. Unanswered: its effect shows in the log. `hops` says how
    often it may be passed on to whoever the receiver takes for the leader."""

    kind: EntryKind
    data: bytes
    hops: int


@dataclass(frozen=True, slots=True)
class HandOver:
    """For the leader: an operator at the sender wants `to` to lead, or whoever is furthest if that
    is empty. `request` is the sender's number for it."""

    request: int
    to: NodeId


@dataclass(frozen=True, slots=True)
class HandedOver:
    """What became of the HandOver `request`: `detail` leads now, or says why nobody else does if
    `error` is not empty (then the name of a class in `errors`)."""

    request: int
    error: str
    detail: str


@dataclass(frozen=True, slots=True)
class LearnRequest:
    """From a node that is no voter: committed entries from `first` on, please. If they are gone,
    then the snapshot; of one up to index `snapshot` there are `offset` bytes already."""

    first: int
    snapshot: int
    offset: int


@dataclass(frozen=True, slots=True)
class Learned:
    """Committed entries, for a node that is no voter. The leader is never asked for them. `chain`
    is the hash chain of the log after the last of them."""

    entries: tuple[LogEntry, ...]
    committed: int
    chain: bytes


OfRaft: TypeAlias = (
    VoteRequest
    | VoteReply
    | Append
    | AppendReply
    | SnapshotPart
    | SnapshotReply
    | TimeoutNow
    | Resigned
    | LearnRequest
    | Learned
)
OfLog: TypeAlias = OfRaft | ReadRequest | ReadReply | Propose | HandOver | HandedOver


@dataclass(frozen=True, slots=True)
class Agreement:
    """Whatever concerns a log, under that log's origin: two logs that were founded apart have
    terms and indexes in common, and nothing else. Empty from a node that has no log yet."""

    log: bytes
    message: OfLog


@dataclass(frozen=True, slots=True)
class Relay:
    """`frame` is what `origin` has to say to `destination`, as an encoded Agreement; whoever gets
    it from the origin itself passes it on. `number` tells repetitions."""

    origin: NodeId
    destination: NodeId
    number: int
    frame: bytes
    signature: bytes
