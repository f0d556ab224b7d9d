"""Everything that one peer says to another. `codec.py` gives each class its number on the wire.

A message may be lost, delayed, repeated or overtaken; no handler may rely on anything else.
The sender is not a field: the link proves it (mutual TLS), the simulator knows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias, get_args

from protocol.identity import NodeId, node_id_of

if TYPE_CHECKING:
    from typing_extensions import TypeIs  # Python's own from 3.13 on

# -- membership (SWIM: Das, Gupta, Motivala 2002) -----------------------------------------------


@dataclass(frozen=True, slots=True)
class MemberRecord:
    """What a node says of itself, signed by it. The higher (epoch, incarnation) is the newer:
    `epoch` counts the node's starts, `incarnation` its refutations within one."""

    public_key: bytes
    name: str
    endpoints: tuple[str, ...]
    epoch: int
    incarnation: int
    left: bool
    metadata: tuple[tuple[str, str], ...]
    signature: bytes

    @property
    def node(self) -> NodeId:
        """The id that follows from the key."""
        return node_id_of(self.public_key)

    @property
    def version(self) -> tuple[int, int]:
        """(epoch, incarnation): by this, records of one node are ordered."""
        return (self.epoch, self.incarnation)


class Word(Enum):
    """What a rumor says of a node."""

    SUSPECTED = 1  # the accuser got no answer, directly or through others
    REFUSED = 2  # the accuser's connection was refused: nobody listens at its addresses
    FAILED = 3  # it was suspected and has not refuted in time
    ENDED = 4  # it has failed: enough connections were refused
    FORGOTTEN = 5  # it has failed or left, and the operator does not want it back


@dataclass(frozen=True, slots=True)
class Rumor:
    """What `accuser` says of `node` in this (epoch, incarnation)."""

    node: NodeId
    epoch: int
    incarnation: int
    accuser: NodeId
    word: Word

    @property
    def version(self) -> tuple[int, int]:
        """Of the record that the rumor is about."""
        return (self.epoch, self.incarnation)


@dataclass(frozen=True, slots=True)
class ReachRow:
    """Whom `node` does not reach directly, though the team holds them to be there: `deaf` are heard
    and do not answer, `silent` are not heard either; only so many of each are named. `reached`
    counts those that answer. Of two rows of a node the higher (epoch, number) is the newer."""

    node: NodeId
    epoch: int
    number: int
    reached: int
    deaf: tuple[NodeId, ...]
    silent: tuple[NodeId, ...]

    @property
    def version(self) -> tuple[int, int]:
        return (self.epoch, self.number)


@dataclass(frozen=True, slots=True)
class News:
    """What rides on every message of the membership (SWIM, section 4.1)."""

    records: tuple[MemberRecord, ...] = ()
    rumors: tuple[Rumor, ...] = ()
    rows: tuple[ReachRow, ...] = ()


NO_NEWS = News()


@dataclass(frozen=True, slots=True)
class Probe:
    """Are you there? And do you know what I know? (`fingerprint`, as in `ViewSummary`)"""

    sequence: int
    fingerprint: bytes
    news: News


@dataclass(frozen=True, slots=True)
class ProbeAck:
    """I am, or whom you asked me to probe is; `direct` tells the one from the other."""

    sequence: int
    direct: bool
    news: News


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    """Please probe `target` for me, and pass its answer on."""

    sequence: int
    target: NodeId
    news: News


@dataclass(frozen=True, slots=True)
class ProbeNack:
    """I am here and did probe, but your target has not answered me (Lifeguard, section IV-A)."""

    sequence: int


@dataclass(frozen=True, slots=True)
class ViewSummary:
    """A fingerprint of all that the sender knows of the members; with `sums` over parts of them, so
    that the receiver sends what differs. `is_last` wants no sums in return."""

    fingerprint: bytes
    sums: tuple[bytes, ...]
    is_last: bool


@dataclass(frozen=True, slots=True)
class MemberSync:
    """All that the sender knows of the members, or news that cannot wait; `wants_answer` asks for
    all that the receiver knows in return."""

    news: News
    wants_answer: bool


# -- store and gossip ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Push:
    """Batches of entries that the sender saw for the first time just now."""

    batches: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """Hash-first: a fingerprint of the sender's whole digest. Beside it the log that the sender
    follows (empty for none) and whether that is `settled`; and for nodes beyond the council, how
    far it is committed and who leads which term (empty if the sender does not know)."""

    fingerprint: bytes
    log: bytes
    settled: bool
    committed: int
    term: int
    leader: NodeId


@dataclass(frozen=True, slots=True)
class Digest:
    """Author -> highest sequence held without a gap. `wants_answer` asks for yours in return."""

    vector: Mapping[str, int]
    wants_answer: bool


@dataclass(frozen=True, slots=True)
class DigestSums:
    """Hash-first, of many authors: a sum over what the sender has of each part of them."""

    sums: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class PartDigest:
    """A digest of the authors in some parts; nothing is said of the others."""

    parts: tuple[int, ...]
    vector: Mapping[str, int]
    wants_answer: bool


@dataclass(frozen=True, slots=True)
class Collected:
    """Entries `first` to `last` of an author are not needed by anybody any more; `link` is the
    value of the author's hash chain after them."""

    author: NodeId
    first: int
    last: int
    link: bytes


@dataclass(frozen=True, slots=True)
class Delta:
    """Batches that the receiver's digest lacked, in order for each author, and what was collected
    between them; `more` if the size limit cut them short, so that the receiver asks again at
    once."""

    batches: tuple[bytes, ...]
    collected: tuple[Collected, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class Holding:
    """The sender has had all of an author up to `last`, and still holds the batches that begin at
    `firsts`."""

    author: NodeId
    last: int
    firsts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class HoldingsAsked:
    """I was away for so long that what I hold may have been deleted without a trace. Tell me of the
    authors that come `after` this one."""

    after: NodeId


@dataclass(frozen=True, slots=True)
class Holdings:
    """All that the sender holds of some authors, in order; drop what you have beside it. There may
    be `more` authors after the last of them."""

    holdings: tuple[Holding, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class QueryAnswer:
    """The sender's answer to the receiver's query of this number."""

    number: int
    payload: str


@dataclass(frozen=True, slots=True)
class BlobRequest:
    """Please send this part of a blob; 0 stands for its manifest."""

    blob: str
    part: int


@dataclass(frozen=True, slots=True)
class BlobPart:
    """A part of a blob, or its manifest. Who asked sees by the hash whether it is."""

    blob: str
    part: int
    data: bytes


@dataclass(frozen=True, slots=True)
class BlobMissing:
    """The sender has not got it."""

    blob: str
    part: int


@dataclass(frozen=True, slots=True)
class Forked:
    """Two batches that one author signed and that cannot both be of its history: proof that it is
    not to be believed."""

    one: bytes
    other: bytes


# -- partial views and trees (HyParView, Plumtree: Leitao, Pereira, Rodrigues 2007) ----------------


@dataclass(frozen=True, slots=True)
class Contact:
    """A node and where it can be reached, the best address first."""

    node: NodeId
    endpoints: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """JOIN: `newcomer` knows nobody but the address that this goes to."""

    newcomer: Contact


@dataclass(frozen=True, slots=True)
class JoinWalk:
    """FORWARDJOIN: a random walk with so many `hops` left. Where it ends, `newcomer` gets a
    neighbour."""

    newcomer: Contact
    hops: int


@dataclass(frozen=True, slots=True)
class NeighbourRequest:
    """NEIGHBOR: shall we be neighbours? `urgent` (high priority) cannot be declined."""

    sender: Contact
    urgent: bool


@dataclass(frozen=True, slots=True)
class NeighbourReply:
    """The answer to a NeighbourRequest or JoinRequest."""

    sender: Contact
    accepted: bool


@dataclass(frozen=True, slots=True)
class Disconnect:
    """We are neighbours no more, though the sender is well."""


@dataclass(frozen=True, slots=True)
class Shuffle:
    """A random walk with so many `hops` left, that offers `contacts` for those of whoever it ends
    at."""

    origin: Contact
    hops: int
    contacts: tuple[Contact, ...]


@dataclass(frozen=True, slots=True)
class ShuffleReply:
    """Contacts in exchange for those of a Shuffle."""

    contacts: tuple[Contact, ...]


@dataclass(frozen=True, slots=True)
class LinkTest:
    """Nothing: a connection that is broken shows it when it is used."""


@dataclass(frozen=True, slots=True)
class TreePush:
    """GOSSIP: a broadcast, along the tree; it has gone `hops` hops before this one."""

    identity: bytes
    hops: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class TreeHave:
    """IHAVE: the sender has these broadcasts (identity, hops), if they do not come by the tree."""

    broadcasts: tuple[tuple[bytes, int], ...]


@dataclass(frozen=True, slots=True)
class TreeGraft:
    """GRAFT: push to me from now on, and this broadcast first; none if `identity` is empty."""

    identity: bytes


@dataclass(frozen=True, slots=True)
class TreePrune:
    """PRUNE: I have it from elsewhere; from now on only tell me what you have."""


ViewMessage: TypeAlias = (
    JoinRequest
    | JoinWalk
    | NeighbourRequest
    | NeighbourReply
    | Disconnect
    | Shuffle
    | ShuffleReply
    | LinkTest
)
TreeMessage: TypeAlias = TreePush | TreeHave | TreeGraft | TreePrune
OverlayMessage: TypeAlias = ViewMessage | TreeMessage

# -- agreement (Raft: Ongaro and Ousterhout 2014; Ongaro's thesis) --------------------------------


class EntryKind(Enum):
    """What a log entry holds."""

    NOOP = 0  # a new leader's first entry (thesis, section 6.4)
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


Message: TypeAlias = (
    Probe
    | ProbeAck
    | ProbeRequest
    | ProbeNack
    | MemberSync
    | ViewSummary
    | Push
    | Summary
    | Digest
    | DigestSums
    | PartDigest
    | Delta
    | HoldingsAsked
    | Holdings
    | Forked
    | QueryAnswer
    | BlobRequest
    | BlobPart
    | BlobMissing
    | OverlayMessage
    | Agreement
    | Relay
)


def is_of_log(message: Message | OfLog) -> TypeIs[OfLog]:
    """Whether it goes in an Agreement. Asked for all that is sent: a set is quicker than
    `isinstance` with a union of fifteen."""
    return type(message) in _OF_LOG


_OF_LOG = frozenset(get_args(OfLog))
