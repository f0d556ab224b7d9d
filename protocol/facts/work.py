"""Jobs and their tasks."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.facts import Fact
from protocol.identity import NOBODY, NodeId


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
    """`node` holds the task; seen by every node, each at its own time. `index` is where the log
    says so, 0 if the store does."""

    mark = "*"
    job: str
    task: str
    slot: int
    node: NodeId
    token: int
    index: int


@dataclass(frozen=True, slots=True)
class TaskCloned(Fact):
    """`node` races whoever holds the task under this token: the first verified result wins.
    `index` is where the log says so, 0 if the store does."""

    mark = "*"
    job: str
    task: str
    slot: int
    node: NodeId
    token: int
    index: int


@dataclass(frozen=True, slots=True)
class RaceEnded(Fact):
    """`node` does not race the holder of this token any more: it failed, or is away. `index` is
    where the log says so."""

    mark = "*"
    job: str
    task: str
    slot: int
    node: NodeId
    token: int
    index: int


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
    """This node's agent began, for the holder of the task or to race it."""

    mark = "*"
    job: str
    task: str
    slot: int
    token: int
    races: bool


@dataclass(frozen=True, slots=True)
class TaskCompleted(Fact):
    """This node's agent ended with a verified result, not yet accepted. `left` names files that it
    wrote and that the task does not, so that nobody gets them."""

    mark = "*"
    job: str
    task: str
    slot: int
    token: int
    digest: str
    left: str = ""


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
class AnswerGiven(Fact):
    """One of several independent answers is in the log; it takes more to accept the task."""

    mark = "*"
    job: str
    task: str
    slot: int
    node: NodeId
    token: int
    index: int


@dataclass(frozen=True, slots=True)
class ResultProposed(Fact):
    """A result is in the log and waits until another node has checked it as well."""

    mark = "*"
    job: str
    task: str
    slot: int
    node: NodeId
    token: int
    index: int


@dataclass(frozen=True, slots=True)
class ResultReviewed(Fact):
    """`reviewer` checked the result of `node`; `fault` is what was wrong, empty if nothing was."""

    mark = "*"
    job: str
    task: str
    slot: int
    node: NodeId
    token: int
    reviewer: NodeId
    fault: str
    index: int


@dataclass(frozen=True, slots=True)
class AnswersJudged(Fact):
    """`judge` said which answers agree: those in slots with the same number."""

    mark = "*"
    job: str
    task: str
    judge: NodeId
    groups: tuple[int, ...]
    index: int


@dataclass(frozen=True, slots=True)
class BudgetGranted(Fact):
    """`node` has the right to so much more of the job's budget."""

    mark = "*"
    job: str
    node: NodeId
    tokens: int
    microusd: int
    index: int


@dataclass(frozen=True, slots=True)
class ReservationExceeded(Fact):
    """A call of this node has used so much more of the job's budget than it had reserved: the
    endpoint has counted more than anybody could foresee, or written more than it was allowed."""

    mark = "!"
    job: str
    endpoint: str
    tokens: int
    microusd: int


@dataclass(frozen=True, slots=True)
class FileMerged(Fact):
    """The versions of a file by tasks that had not seen each other became one, by `node` alone or
    with an agent's help; or they did not, and `fault` says why. `reviewer` has checked it again, if
    anybody has."""

    mark = "*"
    job: str
    path: str
    tasks: tuple[str, ...]
    node: NodeId
    by_agent: bool
    fault: str
    index: int
    reviewer: NodeId = NOBODY


@dataclass(frozen=True, slots=True)
class MergeProposed(Fact):
    """What `node` made of such versions is in the log and waits until another node has checked it
    as well."""

    mark = "*"
    job: str
    path: str
    tasks: tuple[str, ...]
    node: NodeId
    by_agent: bool
    index: int


@dataclass(frozen=True, slots=True)
class MergeReviewed(Fact):
    """`reviewer` ran the checks of all these tasks on the merge by `node`; `fault` is what was
    wrong, empty if nothing was."""

    mark = "*"
    job: str
    path: str
    tasks: tuple[str, ...]
    node: NodeId
    reviewer: NodeId
    fault: str
    index: int


@dataclass(frozen=True, slots=True)
class EndpointRefused(Fact):
    """A model's endpoint refuses calls because there are too many; the whole team slows down."""

    mark = "!"
    endpoint: str
    retry_after_ms: int


@dataclass(frozen=True, slots=True)
class TaskAbandoned(Fact):
    """The task ran out of attempts; what needs it cannot be done."""

    mark = "!"
    job: str
    task: str
    reason: str
    index: int


@dataclass(frozen=True, slots=True)
class JobForgotten(Fact):
    """A job that ended long ago made room for another: the log has no more of it."""

    mark = "*"
    job: str
    index: int


@dataclass(frozen=True, slots=True)
class JobFinished(Fact):
    """Every task is accepted, abandoned or out of reach. `succeeded` means all accepted."""

    mark = "*"
    job: str
    succeeded: bool
    outcome: str
    index: int
