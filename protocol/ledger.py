"""The replicated state machine: jobs, who may work, what was accepted. Fed by the log alone.

Invariants: a task is accepted at most once; its fence and token never go down; a result whose
token is below the fence, or that comes after an acceptance, is kept as evidence and changes
nothing. Two nodes that applied the same prefix of the log hold equal ledgers.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, field
from typing import TypeAlias

from protocol import codec, graph
from protocol.errors import InvalidJob, RemoteProtocolError
from protocol.facts import Fact, RequestRefused
from protocol.facts.work import (
    JobFinished,
    JobRefused,
    JobSubmitted,
    ResultLate,
    TaskAbandoned,
    TaskAccepted,
    TaskClaimed,
    TaskCloned,
    TaskFenced,
)
from protocol.identity import NOBODY, NodeId
from protocol.jobs import (
    NO_USAGE,
    RESULT_SIZE_MAX,
    ClaimMode,
    File,
    Job,
    Task,
    Usage,
    digest_of,
    validate,
)
from protocol.messages.agreement import EntryKind, LogEntry

Unit: TypeAlias = tuple[str, str, int]  # job, task, slot

ANSWER_LENGTH_MAX = codec.STRING_SIZE_MAX  # characters of a result that is a text
TOKEN_MAX = 2**62  # above it nobody could count on
LATE_MAX = 16  # late results kept per task; more are counted by facts only
JOBS_MAX = 1_000

# -- commands ----------------------------------------------------------------------------------


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
class FenceTask:
    """Results with a token below `token` shall not be accepted, and their claim is void."""

    job: str
    task: str
    slot: int
    token: int


@dataclass(frozen=True, slots=True)
class AcceptResult:
    """A verified result by `node`, which worked under `token`."""

    job: str
    task: str
    slot: int
    node: NodeId
    token: int
    files: tuple[File, ...]
    text: str
    usage: Usage


@dataclass(frozen=True, slots=True)
class AbandonTask:
    """The task cannot be done; `reason` is for people."""

    job: str
    task: str
    reason: str


Command: TypeAlias = SubmitJob | ClaimTask | CloneTask | FenceTask | AcceptResult | AbandonTask


@dataclass(frozen=True, slots=True)
class _Envelope:
    command: SubmitJob | ClaimTask | CloneTask | FenceTask | AcceptResult | AbandonTask


def encode_command(command: Command) -> bytes:
    """A command as it lies in the log."""
    return codec.pack_value(_Envelope(command))


def decode_command(data: bytes) -> Command:
    """The inverse; RemoteProtocolError if the bytes are no command."""
    return codec.unpack_value(_Envelope, data).command


# -- state ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    """A result in the log, accepted or late. (slot, node, token) names the attempt."""

    slot: int
    node: NodeId
    token: int
    digest: str
    index: int
    files: tuple[File, ...] = ()
    text: str = ""
    usage: Usage = NO_USAGE

    @property
    def attempt(self) -> tuple[int, NodeId, int]:
        return self.slot, self.node, self.token


@dataclass(slots=True)
class Slot:
    """One of the independent attempts at a task. `token` is the last one given out by the log;
    in LEASE mode claims live in the store and the log knows only the fence. `racers` work under
    the holder's token, and the first of them takes the holder's place if that is given up on."""

    holder: NodeId = NOBODY
    token: int = 0
    fence: int = 0
    answer: Answer | None = None
    racers: list[NodeId] = field(default_factory=list)

    def has(self, node: NodeId, token: int) -> bool:
        """Whether the node works on it under this token, as holder or racer."""
        return token == self.token and (node == self.holder or node in self.racers)


@dataclass(slots=True)
class TaskState:
    task: Task
    slots: list[Slot]
    accepted: Answer | None = None
    abandoned: str = ""
    late: list[Answer] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        return self.accepted is None and not self.abandoned

    def knows(self, attempt: tuple[int, NodeId, int]) -> bool:
        """Whether the result of this attempt is in the log already, as an answer or as late."""
        answer = self.slots[attempt[0]].answer
        return (answer is not None and answer.attempt == attempt) or any(
            late.attempt == attempt for late in self.late
        )

    def takes(self, slot: int, token: int) -> bool:
        """Whether a result for this slot could still count. If not, it is evidence at most."""
        place = self.slots[slot]
        return self.is_open and place.answer is None and token >= place.fence


@dataclass(slots=True)
class JobState:
    """A job as the log has it. `order` is a topological order of its tasks."""

    job: Job
    index: int
    submitted_at: int  # by the wall clock of the node that took it, nanoseconds
    tasks: dict[str, TaskState]
    levels: dict[str, float]
    order: tuple[str, ...]
    outcome: str = ""
    succeeded: bool = False
    finished_index: int = 0

    @property
    def is_finished(self) -> bool:
        return self.outcome != ""

    def is_ready(self, state: TaskState) -> bool:
        """Open, and everything it needs is accepted. The same rule in all four claim modes."""
        return state.is_open and all(
            self.tasks[need].accepted is not None for need in state.task.needs
        )

    def ready_units(self) -> list[tuple[TaskState, Slot, Unit]]:
        """The slots of ready tasks, those with the longest chain behind them first."""
        units = [
            (state, slot, (self.job.id, state.task.id, number))
            for state in self.tasks.values()
            if self.is_ready(state)
            for number, slot in enumerate(state.slots)
        ]
        return sorted(units, key=lambda found: -self.levels[found[0].task.id])

    def units_of(self, node: NodeId) -> set[Unit]:
        """The slots that the log has given to this node and that have no answer yet."""
        return {
            (self.job.id, state.task.id, number)
            for state in self.tasks.values()
            if state.is_open
            for number, slot in enumerate(state.slots)
            if slot.holder == node and slot.answer is None
        }

    def is_exhausted(self) -> bool:
        """Nothing is left to do: what is still open needs something that was abandoned."""
        if not any(state.abandoned for state in self.tasks.values()):
            return not any(state.is_open for state in self.tasks.values())
        blocked: set[str] = set()
        for task_id in self.order:
            state = self.tasks[task_id]
            if state.abandoned or not blocked.isdisjoint(state.task.needs):
                blocked.add(task_id)
        return all(not state.is_open or task in blocked for task, state in self.tasks.items())

    def usage(self) -> Usage:
        """What the accepted results consumed, together."""
        total = Usage()
        for state in self.tasks.values():
            if state.accepted:
                total = total.plus(state.accepted.usage)
        return total

    def spent(self) -> Usage:
        """What all results in the log consumed, accepted or not."""
        total = Usage()
        for state in self.tasks.values():
            answers = [slot.answer for slot in state.slots if slot.answer]
            for answer in (*answers, *state.late):
                total = total.plus(answer.usage)
        return total

    def files(self) -> list[File]:
        """The accepted files by path; where two tasks wrote one path, the later in graph order
        stands."""
        return self._files_of(self.order)

    def inputs_of(self, task: Task) -> list[File]:
        """The accepted files of everything the task needs, by the same rule."""
        needed = graph.ancestors_of(self.job.needs, task.id)
        return self._files_of([task_id for task_id in self.order if task_id in needed])

    def _files_of(self, task_ids: Iterable[str]) -> list[File]:
        found: dict[str, File] = {}
        for task_id in task_ids:
            accepted = self.tasks[task_id].accepted
            for file in accepted.files if accepted else ():
                found[file.path] = file
        return [found[path] for path in sorted(found)]


def fault_of_result(task: Task, files: Sequence[File], text: str) -> str:
    """Why the ledger would refuse this result of `task`; empty if it would not."""
    if not {file.path for file in files} <= set(task.writes):
        return "it has files that the task does not write"
    if len(text) > ANSWER_LENGTH_MAX:
        return f"its text is over {ANSWER_LENGTH_MAX} characters"
    size = sum(len(file.content) for file in files) + len(text.encode("utf-8", "replace"))
    return f"it is over {RESULT_SIZE_MAX} bytes" if size > RESULT_SIZE_MAX else ""


class Ledger:
    """All jobs, by id, in the order in which they were submitted."""

    def __init__(self) -> None:
        self.jobs: dict[str, JobState] = {}
        self.applied = 0

    def __repr__(self) -> str:
        done = sum(state.is_finished for state in self.jobs.values())
        return f"<Ledger applied={self.applied} jobs={len(self.jobs)} finished={done}>"

    def apply(self, entry: LogEntry) -> list[Fact]:
        """Apply the next committed entry: what follows from it, as facts."""
        assert entry.index == self.applied + 1, "entries are applied once, in order"
        self.applied = entry.index
        if entry.kind is not EntryKind.COMMAND:
            return []
        try:
            command = decode_command(entry.data)
        except RemoteProtocolError as fault:
            return [RequestRefused(f"log entry {entry.index}: {fault}")]
        token = 0 if isinstance(command, SubmitJob | AbandonTask) else command.token
        if token > TOKEN_MAX:
            return [RequestRefused(f"log entry {entry.index}: a token of {token}")]
        match command:
            case SubmitJob():
                return self._submit(command, entry.index)
            case ClaimTask():
                return self._claim(command)
            case CloneTask():
                return self._clone(command)
            case FenceTask():
                return self._fence(command, entry.index)
            case AcceptResult():
                return self._accept(command, entry.index)
            case AbandonTask():
                return self._abandon(command, entry.index)

    def restart(self) -> None:
        """Begin with another log."""
        self.jobs.clear()
        self.applied = 0

    def active(self) -> list[JobState]:
        """Jobs that are not finished, oldest first."""
        return [state for state in self.jobs.values() if not state.is_finished]

    def slot(self, job: str, task: str, slot: int) -> tuple[JobState, TaskState, Slot] | None:
        """The slot and what it is part of; None if there is no such thing."""
        job_state = self.jobs.get(job)
        task_state = job_state.tasks.get(task) if job_state else None
        if job_state is None or task_state is None or not 0 <= slot < len(task_state.slots):
            return None
        return job_state, task_state, task_state.slots[slot]

    # -- commands, one by one --------------------------------------------------------------------

    def _submit(self, command: SubmitJob, index: int) -> list[Fact]:
        job = command.job
        if job.id in self.jobs:
            return []  # a repeated submission
        try:
            validate(job)
        except InvalidJob as fault:
            return [JobRefused(job.id, str(fault))]
        if len(self.jobs) >= JOBS_MAX:
            return [JobRefused(job.id, f"this team keeps {JOBS_MAX} jobs already")]
        tasks = {
            task.id: TaskState(task, [Slot() for _ in range(task.quorum.of)]) for task in job.tasks
        }
        state = JobState(
            job,
            index,
            command.submitted_at,
            tasks,
            graph.bottom_levels(job.needs),
            tuple(graph.topological_order(job.needs)),
        )
        self.jobs[job.id] = state
        facts: list[Fact] = [JobSubmitted(job.id, index, len(job.tasks))]
        if job.claims is ClaimMode.ASSIGNED:
            for task_id, slot, node in command.assignment:
                facts += self._grant(job.id, task_id, slot, node, 1)
        return facts

    def _claim(self, command: ClaimTask) -> list[Fact]:
        found = self.slot(command.job, command.task, command.slot)
        if found is None:
            return []
        job, task, slot = found
        if job.job.claims is ClaimMode.LEASE or not task.is_open or slot.answer:
            return []
        if job.job.claims is not ClaimMode.ASSIGNED and not job.is_ready(task):
            return []
        return self._grant(command.job, command.task, command.slot, command.node, command.token)

    def _grant(self, job: str, task: str, slot: int, node: NodeId, token: int) -> list[Fact]:
        found = self.slot(job, task, slot)
        if found is None:
            return []
        held = found[2]
        if held.holder or token != held.token + 1 or token < held.fence:
            return []
        held.holder, held.token = node, token
        held.fence = token
        return [TaskClaimed(job, task, slot, node, token)]

    def _clone(self, command: CloneTask) -> list[Fact]:
        found = self.slot(command.job, command.task, command.slot)
        if found is None:
            return []
        job, task, slot = found
        if not task.is_open or slot.answer or not slot.holder or command.token != slot.token:
            return []
        if slot.has(command.node, slot.token) or len(slot.racers) >= job.job.speculation.clones:
            return []
        slot.racers.append(command.node)
        return [TaskCloned(*astuple(command))]

    def _fence(self, command: FenceTask, index: int) -> list[Fact]:
        found = self.slot(command.job, command.task, command.slot)
        if found is None or command.token <= found[2].fence:
            return []
        slot = found[2]
        slot.fence = command.token
        slot.holder = NOBODY
        slot.token = command.token - 1  # so that the next claim gets the fence as its token
        fenced = TaskFenced(command.job, command.task, command.slot, command.token, index)
        if not slot.racers or slot.answer:
            return [fenced]
        heir = slot.racers.pop(0)
        granted = self._grant(command.job, command.task, command.slot, heir, command.token)
        return [fenced, *granted]

    def _accept(self, command: AcceptResult, index: int) -> list[Fact]:
        found = self.slot(command.job, command.task, command.slot)
        if found is None:
            return []
        job, task, slot = found
        fault = self._fault_of(job, task, command)
        if fault:
            return [RequestRefused(f"result of {command.task} by {command.node}: {fault}")]
        answer = Answer(
            command.slot,
            command.node,
            command.token,
            digest_of(command.files, command.text),
            index,
            command.files,
            command.text,
            command.usage,
        )
        own_claim = job.job.claims is ClaimMode.LEASE or slot.has(command.node, command.token)
        if task.knows(answer.attempt):
            return []  # the same result, proposed again
        if not task.takes(command.slot, command.token) or not own_claim:
            return self._keep_late(job, task, answer)
        slot.answer = answer
        return self._count_answers(job, task, index)

    def _fault_of(self, job: JobState, task: TaskState, command: AcceptResult) -> str:
        if task.is_open and not job.is_ready(task):
            return "something that the task needs is not accepted"
        return fault_of_result(task.task, command.files, command.text)

    def _keep_late(self, job: JobState, task: TaskState, answer: Answer) -> list[Fact]:
        if len(task.late) < LATE_MAX:
            task.late.append(answer)
        return [
            ResultLate(
                job.job.id, task.task.id, answer.node, answer.token, answer.digest, answer.index
            )
        ]

    def _count_answers(self, job: JobState, task: TaskState, index: int) -> list[Fact]:
        """Accept when `agree` independent answers are equal; give up when they cannot be."""
        answers = [slot.answer for slot in task.slots if slot.answer]
        digest, votes = Counter(answer.digest for answer in answers).most_common(1)[0]
        if votes < task.task.quorum.agree:
            if len(answers) < len(task.slots):
                return []
            reason = f"{len(answers)} answers, but at most {votes} of them agree"
            return self._abandon(AbandonTask(job.job.id, task.task.id, reason), index)
        first = next(answer for answer in answers if answer.digest == digest)
        task.accepted = first
        accepted = TaskAccepted(
            job.job.id, task.task.id, first.node, first.token, first.digest, index
        )
        return [accepted, *self._finish(job, index)]

    def _abandon(self, command: AbandonTask, index: int) -> list[Fact]:
        found = self.slot(command.job, command.task, 0)
        if found is None or not found[1].is_open:
            return []
        job, task, _ = found
        task.abandoned = command.reason[:1_000] or "no reason given"
        fact = TaskAbandoned(job.job.id, task.task.id, task.abandoned, index)
        return [fact, *self._finish(job, index)]

    def _finish(self, job: JobState, index: int) -> list[Fact]:
        """The outcome, once nothing is left to do: one digest over every task's end."""
        if job.is_finished or not job.is_exhausted():
            return []
        job.succeeded = all(state.accepted for state in job.tasks.values())
        lines = [
            f"{task_id} {state.accepted.digest if state.accepted else '-'}"
            for task_id, state in sorted(job.tasks.items())
        ]
        job.outcome = hashlib.sha256("\n".join(lines).encode()).hexdigest()
        job.finished_index = index
        return [JobFinished(job.job.id, job.succeeded, job.outcome, index)]
