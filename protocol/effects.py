"""What a peer asks its host to do.

The effects of one step are performed in order, and a `Persist` is durable before anything after
it in that step is performed. Persists complete in order; other steps go on meanwhile. A message
that promises something is therefore always preceded by a `Persist` in its step, which is empty
when what it promises may still be on its way to the disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from protocol.configuration import Configuration
from protocol.facts import Fact
from protocol.identity import NodeId
from protocol.jobs import File, Job, Task
from protocol.messages import Message
from protocol.messages.agreement import LogEntry
from protocol.messages.membership import MemberRecord
from protocol.messages.sharing import Collected, Forked
from protocol.registers import Versioned

# -- what is kept ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HardState:
    """Raft's term and vote (Ongaro and Ousterhout 2014, Figure 2: persistent state)."""

    term: int
    vote: NodeId


@dataclass(frozen=True, slots=True)
class AppendEntries:
    """Log entries; those kept at or above the first index are replaced."""

    entries: tuple[LogEntry, ...]


@dataclass(frozen=True, slots=True)
class KeepBatch:
    """A signed batch of `author` in the store: entries `first` to `last`, as bytes of the codec."""

    author: NodeId
    first: int
    last: int
    encoded: bytes


@dataclass(frozen=True, slots=True)
class KeepCollected:
    """What follows of an author's history in the store was collected before it came here."""

    collected: Collected


@dataclass(frozen=True, slots=True)
class KeepLateness:
    """Whether this node skipped some of the store, and has not heard yet what still counts."""

    late: bool


@dataclass(frozen=True, slots=True)
class KeepProof:
    """This author has signed two histories: nothing more of it is taken."""

    author: NodeId
    proof: Forked


@dataclass(frozen=True, slots=True)
class DropBatches:
    """Of these batches, by author and first sequence, nothing counts any more. Which there were is
    remembered: the history goes on."""

    batches: tuple[tuple[NodeId, int], ...]


@dataclass(frozen=True, slots=True)
class KeepMember:
    """A member's own signed record, so that a restarted node knows whom to call."""

    record: MemberRecord


@dataclass(frozen=True, slots=True)
class ForgetMember:
    """The record of a member that is gone is not needed any more."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class KeepManifest:
    """What a blob consists of, in its encoded form, whose hash is the blob's id."""

    blob: str
    encoded: bytes


@dataclass(frozen=True, slots=True)
class KeepPart:
    """One part of a blob; the first is number 1."""

    blob: str
    part: int
    data: bytes


@dataclass(frozen=True, slots=True)
class DropBlob:
    """A blob is not wanted any more."""

    blob: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state machine after the entry `index` of `term`, with the configuration and the hash
    chain at that point; `origin` names the log and the beginning of its epoch (`RaftLog.lineage`).
    Equal on every node, byte for byte."""

    index: int
    term: int
    configuration: Configuration
    configuration_index: int
    chain: bytes
    origin: bytes
    state: bytes


@dataclass(frozen=True, slots=True)
class KeepSnapshot:
    """A snapshot in place of the one before, and of the entries below `keep_from`. With `replace`
    set it came from elsewhere and every entry goes."""

    snapshot: Snapshot
    keep_from: int
    replace: bool


@dataclass(frozen=True, slots=True)
class DropLog:
    """Forget entries and snapshot: another log takes their place."""


@dataclass(frozen=True, slots=True)
class KeepImpairment:
    """Whether this node must not vote, since it may have forgotten what it promised."""

    impaired: bool


Record: TypeAlias = (
    HardState
    | AppendEntries
    | KeepSnapshot
    | DropLog
    | KeepImpairment
    | KeepBatch
    | KeepCollected
    | KeepLateness
    | KeepProof
    | DropBatches
    | KeepMember
    | ForgetMember
    | KeepManifest
    | KeepPart
    | DropBlob
)


@dataclass(frozen=True, slots=True)
class Restored:
    """What a host hands to a new `Peer`: everything that was persisted, in order. `entries` go on
    after `snapshot`, or overlap it. `impaired`: some of Raft's part was lost, or a loss of before
    has not been made good yet."""

    hard_state: HardState = HardState(0, NodeId(""))
    snapshot: Snapshot | None = None
    entries: tuple[LogEntry, ...] = ()
    impaired: bool = False
    batches: tuple[bytes, ...] = ()
    collected: tuple[Collected, ...] = ()
    late: bool = False
    members: tuple[MemberRecord, ...] = ()
    blobs: tuple[tuple[str, bytes, frozenset[int]], ...] = ()  # id, manifest, parts
    proofs: tuple[tuple[NodeId, Forked], ...] = ()  # by author


# -- the effects -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Persist:
    """Make the records durable, then report `Persisted(sequence)`."""

    sequence: int
    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class Send:
    """Send to a node at one of its endpoints ("host:port", tried in order); a seed's node id is
    not known yet and empty. Loss, delay and repetition are allowed; a refusal is reported back
    as `Undeliverable`."""

    destination: NodeId
    endpoints: tuple[str, ...]
    message: Message


class Purpose(Enum):
    """What an assignment is for."""

    WORK = "work"  # do the task
    FINISH = "finish"  # check the answer that an earlier attempt has made: it is the only proposal
    REVIEW = "review"  # run the task's check on somebody else's result, or `checks` on a merge
    JUDGE = "judge"  # say which answers agree: the text is a group's number for each, by blanks
    MERGE = "merge"  # make one file of versions whose authors have not seen each other


@dataclass(frozen=True, slots=True)
class Proposal:
    """Somebody's result."""

    files: tuple[File, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Check:
    """One task's check of a merge of its version of a file with others: run as it was on the task's
    own result, which came with `text`, with `inputs` beside the merged file."""

    task: Task
    inputs: tuple[File, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Answered:
    """A question of the job and its accepted answer."""

    question: str
    text: str


@dataclass(frozen=True, slots=True)
class Assignment:
    """All that an agent needs: `inputs` are the accepted files of everything the task needs,
    `answered` the questions among it, those with the task's own prompt being drafts of its answer;
    `fixtures` are the job's own files, `partial` what an earlier attempt left, `notes` why earlier
    attempts failed, `lore` what others have found out; `proposals` are the results to review, to
    judge or to merge. To merge them, `partial` is what their authors began with, and their texts
    say what each was to do; the merge must pass all `checks`, and the task's own is none. Of a job
    that `is_metered` no model call begins before it is granted, and if it `limits_money` none whose
    price nobody knows."""

    job: str
    task: Task
    slot: int
    token: int
    inputs: tuple[File, ...] = ()
    fixtures: tuple[File, ...] = ()
    partial: tuple[File, ...] = ()
    notes: tuple[str, ...] = ()
    lore: tuple[str, ...] = ()
    description: str = ""  # the job's
    is_metered: bool = False
    purpose: Purpose = Purpose.WORK
    proposals: tuple[Proposal, ...] = ()
    answered: tuple[Answered, ...] = ()
    checks: tuple[Check, ...] = ()
    limits_money: bool = False

    @property
    def drafts(self) -> tuple[str, ...]:
        """What others answered to the task's own question, if it is one."""
        own = self.task.prompt
        if self.task.writes or not own.strip():
            return ()
        return tuple(each.text for each in self.answered if each.question == own)


@dataclass(frozen=True, slots=True)
class Invoke:
    """Start an agent; its end comes back as `Completed` or `AgentFailed` with this number."""

    invocation: int
    assignment: Assignment


@dataclass(frozen=True, slots=True)
class Abort:
    """Stop an agent at once; `AgentFailed` with reason ABORTED still comes back."""

    invocation: int
    reason: str


@dataclass(frozen=True, slots=True)
class CallGranted:
    """The agent's call `call` may begin, and its answer may have so many tokens (0: any number)."""

    invocation: int
    call: int
    tokens_out: int


@dataclass(frozen=True, slots=True)
class CallDenied:
    """The agent's call shall not begin."""

    invocation: int
    call: int
    reason: str


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer a client's request: `error` is empty on success, else 'Busy' or 'InvalidJob' (it did
    not happen) or 'TimedOut' (it may have)."""

    request: int
    error: str
    detail: str


@dataclass(frozen=True, slots=True)
class Results:
    """The requests `first`, `first` + 1, ... happened: the revision of each write, or what
    `protocol.registers.Refusal` says."""

    first: int
    results: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ReadAnswered:
    """The register as it is; None if there is none."""

    request: int
    value: Versioned | None


@dataclass(frozen=True, slots=True)
class Refused:
    """The requests `first` to `first` + `count` - 1 got no answer: 'Busy' or 'NoLeader' (they did
    not happen), or 'TimedOut' (they may have). Commands and reads are numbered apart."""

    first: int
    count: int
    error: str
    detail: str
    is_command: bool


@dataclass(frozen=True, slots=True)
class Asked:
    """Somebody asks every member: the host's answer comes back as `Answered` with the same origin
    and number. None need come; an empty one says that this node does not know such queries. The
    answer is waited for `timeout_ms`, and was asked for `age_ms` ago, by the clocks of both."""

    origin: NodeId
    number: int
    name: str
    payload: str
    timeout_ms: int
    age_ms: int


@dataclass(frozen=True, slots=True)
class ReadPart:
    """Read a part of a blob that was kept; it comes back as `PartRead`."""

    blob: str
    part: int
    destination: NodeId


@dataclass(frozen=True, slots=True)
class Gathered:
    """What was answered to a query, by whom; and who was there and has not answered in time."""

    request: int
    answers: tuple[tuple[NodeId, str], ...]
    silent: tuple[NodeId, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """A fact, for whoever watches."""

    fact: Fact


Answer: TypeAlias = Reply | Results | ReadAnswered | Refused | Gathered
Permit: TypeAlias = CallGranted | CallDenied
Effect: TypeAlias = Persist | Send | Invoke | Abort | Permit | Asked | ReadPart | Answer | Report

__all__ = [
    "Abort",
    "Answer",
    "AppendEntries",
    "Asked",
    "Assignment",
    "CallDenied",
    "CallGranted",
    "Check",
    "DropBatches",
    "DropBlob",
    "DropLog",
    "Effect",
    "ForgetMember",
    "Gathered",
    "HardState",
    "Invoke",
    "Job",
    "KeepBatch",
    "KeepCollected",
    "KeepImpairment",
    "KeepLateness",
    "KeepManifest",
    "KeepMember",
    "KeepPart",
    "KeepProof",
    "KeepSnapshot",
    "Permit",
    "Persist",
    "Proposal",
    "Purpose",
    "ReadAnswered",
    "ReadPart",
    "Record",
    "Refused",
    "Reply",
    "Report",
    "Restored",
    "Results",
    "Send",
    "Snapshot",
]
