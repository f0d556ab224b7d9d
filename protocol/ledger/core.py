"""The replicated state machine: jobs, who may work, what was accepted. Fed by the log alone.

Invariants: a task is accepted at most once; its fence and token never go down; a result whose
token is below the fence, or that comes after an acceptance, is kept as evidence and changes
nothing. Two nodes that applied the same prefix of the log hold equal ledgers.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace

from protocol import graph
from protocol.errors import InvalidJob, RemoteProtocolError
from protocol.facts import Fact, RequestRefused
from protocol.facts.work import (
    AnswerGiven,
    AnswersJudged,
    BudgetGranted,
    JobFinished,
    JobForgotten,
    JobRefused,
    JobSubmitted,
    RaceEnded,
    ResultLate,
    ResultProposed,
    ResultReviewed,
    TaskAbandoned,
    TaskAccepted,
    TaskClaimed,
    TaskCloned,
    TaskFenced,
)
from protocol.identity import NOBODY, NodeId
from protocol.job_rules import validate_in_log
from protocol.jobs import NO_USAGE, NOTHING, SHARES_MAX, ClaimMode, VerifyBy, digest_of
from protocol.ledger import merges
from protocol.ledger.commands import (
    TOKENLESS,
    AbandonTask,
    AcceptResult,
    ClaimTask,
    CloneTask,
    EndRace,
    FenceTask,
    GrantBudget,
    JudgeAnswers,
    MergeFile,
    ReviewMerge,
    ReviewResult,
    SubmitJob,
    decode_command,
)
from protocol.ledger.provenance import NOWHERE, Place
from protocol.ledger.resuming import merged_anew, why_anew
from protocol.ledger.retention import JOBS_MAX, to_forget
from protocol.ledger.state import (
    REASON_LENGTH_MAX,
    Answer,
    Grant,
    JobState,
    Slot,
    TaskState,
    fault_of_result,
)
from protocol.messages.agreement import EntryKind, LogEntry

TOKEN_MAX = 2**62  # above it nobody could count on
CANDIDATES_MAX = 8  # results of one slot that wait for another node's word
LATE_MAX = 16  # late results kept per task; more are counted by facts only


class Ledger:
    """All jobs, by id, in the order in which they were submitted."""

    def __init__(self) -> None:
        self.jobs: dict[str, JobState] = {}
        self.applied = 0
        self._here = NOWHERE  # the entry that is being applied

    def __repr__(self) -> str:
        done = sum(state.is_finished for state in self.jobs.values())
        return f"<Ledger applied={self.applied} jobs={len(self.jobs)} finished={done}>"

    def apply(self, entry: LogEntry, leader: NodeId = NOBODY) -> list[Fact]:
        """Apply the next committed entry, which `leader` put into the log, as far as is known: what
        follows from it, as facts."""
        assert entry.index == self.applied + 1, "entries are applied once, in order"
        self.applied = entry.index
        self._here = Place(entry.index, entry.term, leader)
        if entry.kind is not EntryKind.COMMAND:
            return []
        try:
            command = decode_command(entry.data)
        except RemoteProtocolError as fault:
            return [RequestRefused(f"log entry {entry.index}: {fault}")]
        token = 0 if isinstance(command, TOKENLESS) else command.token
        if token > TOKEN_MAX:
            return [RequestRefused(f"log entry {entry.index}: a token of {token}")]
        match command:
            case SubmitJob():
                return self._submit(command, entry.index)
            case ClaimTask():
                return self._claim(command)
            case CloneTask():
                return self._clone(command)
            case EndRace():
                return self._end_race(command)
            case FenceTask():
                return self._fence(command, entry.index)
            case AcceptResult():
                return self._accept(command, entry.index)
            case ReviewResult():
                return self._review(command, entry.index)
            case JudgeAnswers():
                return self._judge(command, entry.index)
            case GrantBudget():
                return self._grant_budget(command, entry.index)
            case MergeFile() | ReviewMerge():
                return self._merge(command, entry.index)
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
            validate_in_log(job)
        except InvalidJob as fault:
            return [JobRefused(job.id, str(fault))]
        if len(self.active()) >= JOBS_MAX:
            return [JobRefused(job.id, f"{JOBS_MAX} jobs go on here already; try again later")]
        tasks = {
            task.id: TaskState(task, [Slot() for _ in range(task.quorum.of)]) for task in job.tasks
        }
        state = JobState(
            job,
            index,
            command.submitted_at,
            tasks,
            graph.bottom_levels(job.needs, job.weights),
            tuple(graph.topological_order(job.needs)),
        )
        self.jobs[job.id] = state
        facts: list[Fact] = [JobSubmitted(job.id, index, len(job.tasks))]
        if job.claims is ClaimMode.ASSIGNED:
            for task_id, slot, node in command.assignment:
                facts += self._grant(job.id, task_id, slot, node, 1)
        facts += self._carry_over(state, index)
        facts += self._finish(state, index)
        for name in to_forget(self.jobs, job.id):
            del self.jobs[name]
            facts.append(JobForgotten(name, index))
        return facts

    def _carry_over(self, state: JobState, index: int) -> list[Fact]:
        """What an earlier job has for the same tasks is accepted here as well."""
        facts: list[Fact] = []
        earlier = self.jobs.get(state.job.resumes)
        if earlier is None or earlier is state:
            return facts
        anew = merged_anew(state.job, earlier)
        state.merges.update({each: m for each, m in earlier.merges.items() if each not in anew})
        for task_id, reason in why_anew(state, earlier).items():
            task, before = state.tasks[task_id], earlier.tasks.get(task_id)
            is_taken_over = not reason and state.is_ready(task)
            if before is None or before.accepted is None or not is_taken_over:
                continue
            for slot, old in zip(task.slots, before.slots, strict=True):
                # What it used was paid for out of the earlier job's budget.
                slot.answer = _paid(old.answer) if old.answer else None
            answer = _paid(before.accepted)
            task.accepted, task.judge, task.groups = answer, before.judge, before.groups
            task.committed = self._here
            facts.append(
                TaskAccepted(state.job.id, task_id, answer.node, answer.token, answer.digest, index)
            )
        for siblings, merge in list(state.merges.items()):
            found = [state.tasks.get(task) for task in siblings[1]]
            if merge.fault or not all(task and task.accepted for task in found):
                del state.merges[siblings]  # it is tried again, or these are other versions
        state.moved()
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
        return [TaskClaimed(job, task, slot, node, token, self.applied)]

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
        unit = command.job, command.task, command.slot
        return [TaskCloned(*unit, command.node, command.token, self.applied)]

    def _end_race(self, command: EndRace) -> list[Fact]:
        found = self.slot(command.job, command.task, command.slot)
        if found is None or not found[1].is_open:
            return []
        slot = found[2]
        if slot.answer or command.token != slot.token or command.node not in slot.racers:
            return []
        slot.racers.remove(command.node)
        unit = command.job, command.task, command.slot
        return [RaceEnded(*unit, command.node, command.token, self.applied)]

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
            term=self._here.term,
            before=command.before[-SHARES_MAX:],
        )
        own_claim = job.job.claims is ClaimMode.LEASE or slot.has(command.node, command.token)
        if task.knows(answer.attempt):
            return []  # the same result, proposed again
        if not task.takes(command.slot, command.token) or not own_claim:
            return self._keep_late(job, task, answer)
        if task.task.verify_by is VerifyBy.SELF:
            slot.answer = answer
            return self._count_answers(job, task, answer, index)
        if len(slot.candidates) >= CANDIDATES_MAX:
            return self._keep_late(job, task, answer)
        slot.candidates.append(answer)
        return [
            ResultProposed(
                command.job, command.task, command.slot, answer.node, answer.token, index
            )
        ]

    def _review(self, command: ReviewResult, index: int) -> list[Fact]:
        found = self.slot(command.job, command.task, command.slot)
        if found is None or command.reviewer == command.node:
            return []
        job, task, slot = found
        attempt = (command.slot, command.node, command.token)
        proposed = [answer for answer in slot.candidates if answer.attempt == attempt]
        if not task.is_open or slot.answer or not proposed:
            return []
        slot.candidates.remove(proposed[0])
        answer = replace(proposed[0], reviewer=command.reviewer, fault=command.fault)
        reviewed = ResultReviewed(
            *(command.job, command.task, command.slot, command.node, command.token),
            *(command.reviewer, command.fault, index),
        )
        if not command.fault:
            slot.answer = answer
            others, slot.candidates = slot.candidates, []
            late = [fact for other in others for fact in self._keep_late(job, task, other)]
            return [reviewed, *late, *self._count_answers(job, task, answer, index)]
        task.late.append(answer if len(task.late) < LATE_MAX else replace(answer, files=()))
        if len(task.refuted()) >= task.task.attempts_max * len(task.slots):
            number = len(task.refuted())
            were = "result was" if number == 1 else "results were"
            reason = f"{number} {were} wrong, the last: {command.fault}"
            return [reviewed, *self._abandon(AbandonTask(job.job.id, task.task.id, reason), index)]
        return [reviewed, *self._take_away(job, slot, command, index)]

    def _take_away(
        self, job: JobState, slot: Slot, command: ReviewResult, index: int
    ) -> list[Fact]:
        """Whoever made a wrong result works on it no longer. In LEASE mode its claim is void."""
        if job.job.claims is ClaimMode.LEASE or not slot.has(command.node, command.token):
            return []
        if command.node in slot.racers:
            slot.racers.remove(command.node)
            return []
        fence = FenceTask(command.job, command.task, command.slot, command.token + 1)
        return self._fence(fence, index)

    def _judge(self, command: JudgeAnswers, index: int) -> list[Fact]:
        found = self.slot(command.job, command.task, 0)
        if found is None:
            return []
        job, task, _ = found
        is_due = task.waits_for_judge() and len(command.groups) == len(task.slots)
        if not is_due:
            return []
        task.judge, task.groups = command.judge, command.groups
        judged = AnswersJudged(command.job, command.task, command.judge, command.groups, index)
        return [judged, *self._count_answers(job, task, None, index, command.fault)]

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

    def _count_answers(
        self, job: JobState, task: TaskState, new: Answer | None, index: int, unjudged: str = ""
    ) -> list[Fact]:
        """Accept when `agree` independent answers agree; give up when they cannot. `unjudged` says
        why no judge was heard, if one was wanted."""
        name = task.task.id
        answers = task.answers
        given: list[Fact] = []
        if new and len(task.slots) > 1:
            given.append(AnswerGiven(job.job.id, name, *new.attempt, index))
        if task.waits_for_judge() or task.lacks_answers_to_judge():
            return given
        likenesses = [task.likeness(answer) for answer in answers]
        likeness, votes = Counter(likenesses).most_common(1)[0]
        if votes < task.task.quorum.agree:
            if len(answers) < len(task.slots):
                return given
            reason = f"{len(answers)} answers, but at most {votes} of them agree"
            if unjudged:
                reason += f" as they stand, and no judge could say which do: {unjudged}"
            return [*given, *self._abandon(AbandonTask(job.job.id, name, reason), index)]
        first = answers[likenesses.index(likeness)]
        task.accepted = first
        task.committed = self._here
        job.ended(task)
        accepted = TaskAccepted(job.job.id, name, first.node, first.token, first.digest, index)
        return [*given, accepted, *self._abandon_stuck(job, index), *self._finish(job, index)]

    def _grant_budget(self, command: GrantBudget, index: int) -> list[Fact]:
        job = self.jobs.get(command.job)
        if job is None or job.is_finished or not job.job.budget.is_metered:
            return []
        before = job.grants.get(command.node, Grant())
        if command.number != before.number + 1 or not job.may_grant(command.amount):
            return []  # the same, proposed again, or too late
        amount = job.limited(command.amount.at_most(job.bank())).at_least(NOTHING)
        job.grants[command.node] = Grant(command.number, before.amount.plus(amount))
        return [BudgetGranted(command.job, command.node, amount.tokens, amount.microusd, index)]

    def _merge(self, command: MergeFile | ReviewMerge, index: int) -> list[Fact]:
        job = self.jobs.get(command.job)
        if job is None or job.is_finished:
            return []
        if isinstance(command, MergeFile):
            facts = merges.propose(job, command, index)
        else:
            facts = merges.review(job, command, index)
        return [*facts, *self._abandon_stuck(job, index), *self._finish(job, index)]

    def _abandon_stuck(self, job: JobState, index: int) -> list[Fact]:
        """Nobody waits for a file that cannot be."""
        facts: list[Fact] = []
        for task, (path, tasks) in job.stuck():
            fault = job.merges[path, tasks].fault
            reason = f"it needs {path} as {' and '.join(tasks)} made it: {fault}"
            facts += self._abandon(AbandonTask(job.job.id, task.task.id, reason), index)
        return facts

    def _abandon(self, command: AbandonTask, index: int) -> list[Fact]:
        found = self.slot(command.job, command.task, 0)
        if found is None or not found[1].is_open:
            return []
        job, task, _ = found
        task.abandoned = command.reason[:REASON_LENGTH_MAX] or "no reason given"
        task.committed = self._here
        job.ended(task)
        fact = TaskAbandoned(job.job.id, task.task.id, task.abandoned, index)
        return [fact, *self._finish(job, index)]

    def _finish(self, job: JobState, index: int) -> list[Fact]:
        """The outcome, once nothing is left to do: one digest over every task's end and every
        merge."""
        if job.is_finished or not job.is_exhausted() or job.edits.lacking_at_end():
            return []
        all_accepted = all(state.accepted for state in job.tasks.values())
        job.succeeded = all_accepted and not job.edits.conflicts()
        lines = [
            f"{task_id} {state.accepted.digest if state.accepted else '-'}"
            for task_id, state in sorted(job.tasks.items())
        ]
        for (path, tasks), merge in sorted(job.merges.items()):
            digest = "-" if merge.fault else hashlib.sha256(merge.content).hexdigest()
            lines.append(f"{path} of {' '.join(tasks)} {digest}")
        job.outcome = hashlib.sha256("\n".join(lines).encode()).hexdigest()
        job.finished = self._here
        return [JobFinished(job.job.id, job.succeeded, job.outcome, index)]


def _paid(answer: Answer) -> Answer:
    """An earlier job's, whose budget has paid for it."""
    return replace(answer, usage=NO_USAGE, before=())
