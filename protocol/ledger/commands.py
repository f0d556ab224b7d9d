"""Commands: what a log entry asks the ledger to do. Each is idempotent, for it may be proposed more
than once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from protocol import codec
from protocol.identity import NodeId
from protocol.jobs import Amount, File, Job, Share, Usage


@dataclass(frozen=True, slots=True)
class SubmitJob:
    """`assignment` (task, slot, node) is for jobs whose claims are ASSIGNED, else empty.
    `submitted_at` is what the wall clock of the node that took the job said, in nanoseconds."""

    job: Job
    assignment: tuple[tuple[str, int, NodeId], ...]
    submitted_at: int = 0


@dataclass(frozen=True, slots=True)
class ClaimTask:
    """Give the slot to `node`, if `token` is the next one and nobody holds it."""

    job: str
    task: str
    slot: int
    node: NodeId
    token: int


@dataclass(frozen=True, slots=True)
class CloneTask:
    """Let `node` race the holder of `token`. In LEASE mode races need no log."""

    job: str
    task: str
    slot: int
    node: NodeId
    token: int


@dataclass(frozen=True, slots=True)
class EndRace:
    """`node` races the holder of `token` no more: another may."""

    job: str
    task: str
    slot: int
    node: NodeId
    token: int


@dataclass(frozen=True, slots=True)
class FenceTask:
    """Results with a token below `token` shall not be accepted, and their claim is void."""

    job: str
    task: str
    slot: int
    token: int


@dataclass(frozen=True, slots=True)
class AcceptResult:
    """A verified result by `node`, which worked under `token`; `before` is what earlier attempts
    used whose answer it has only finished."""

    job: str
    task: str
    slot: int
    node: NodeId
    token: int
    files: tuple[File, ...]
    text: str
    usage: Usage
    before: tuple[Share, ...] = ()


@dataclass(frozen=True, slots=True)
class ReviewResult:
    """`reviewer` has checked the result that `node` made under `token`; `fault` says what is wrong
    with it, empty if nothing is."""

    job: str
    task: str
    slot: int
    node: NodeId
    token: int
    reviewer: NodeId
    fault: str


@dataclass(frozen=True, slots=True)
class JudgeAnswers:
    """`judge` finds that the answers whose slots have the same number in `groups` agree. By NOBODY:
    so they do as they stand, since no judge could say, why is in `fault`."""

    job: str
    task: str
    judge: NodeId
    groups: tuple[int, ...]
    fault: str = ""


@dataclass(frozen=True, slots=True)
class GrantBudget:
    """Give `node` the right to `amount` of what is left of the job's budget, or to what there is of
    it, for the `number`th time."""

    job: str
    node: NodeId
    number: int
    amount: Amount


@dataclass(frozen=True, slots=True)
class MergeFile:
    """What `node` made of the versions of `path` by these tasks, which had not seen each other:
    one content, with the help of an agent or without; or `fault` says why there is none. `number`
    merges of them were found wrong before."""

    job: str
    path: str
    tasks: tuple[str, ...]
    node: NodeId
    by_agent: bool
    content: bytes
    fault: str
    number: int = 0


@dataclass(frozen=True, slots=True)
class ReviewMerge:
    """`reviewer` has run the checks of all these tasks on the merge of their versions that waits;
    `fault` says what is wrong with it, empty if nothing is. `number` as in MergeFile. By NOBODY:
    nothing comes of it, since for the reason that `fault` says it will not be checked."""

    job: str
    path: str
    tasks: tuple[str, ...]
    number: int
    reviewer: NodeId
    fault: str


@dataclass(frozen=True, slots=True)
class AbandonTask:
    """The task cannot be done; `reason` is for people."""

    job: str
    task: str
    reason: str


Command: TypeAlias = (
    SubmitJob
    | ClaimTask
    | CloneTask
    | FenceTask
    | AcceptResult
    | ReviewResult
    | JudgeAnswers
    | GrantBudget
    | MergeFile
    | ReviewMerge
    | AbandonTask
    | EndRace
)


TOKENLESS = SubmitJob | JudgeAnswers | GrantBudget | MergeFile | ReviewMerge | AbandonTask


@dataclass(frozen=True, slots=True)
class _Envelope:
    command: Command


def encode_command(command: Command) -> bytes:
    """A command as it lies in the log."""
    return codec.pack_value(_Envelope(command))


def decode_command(data: bytes) -> Command:
    """The inverse; RemoteProtocolError if the bytes are no command."""
    return codec.unpack_value(_Envelope, data).command
