"""Checkers of the jobs: a task is accepted once, identically everywhere, and never from a holder
that was fenced before its result came; a result is one, however often it is proposed; a liar does
not win a quorum of answers nor pass another's check, nor does its merge; a job has one outcome;
what a client is told of its submission is so, and stays so; no edit of a shared file is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from protocol.facts import Fact
from protocol.facts.work import (
    FileMerged,
    JobFinished,
    ResultLate,
    TaskAccepted,
    TaskCloned,
    TaskFenced,
)
from protocol.identity import NOBODY, NodeId
from protocol.jobs import Job, VerifyBy
from protocol.ledger import JobState
from protocol.sim.host import Host
from protocol.sim.watch import InvariantBroken
from protocol.sim.workload import LIE, SHARED, SIMULATED, honest_text, mark_of


class JobChecks:
    """See the module's text."""

    def __init__(self) -> None:
        self._accepted: dict[tuple[str, str], TaskAccepted] = {}
        self._late: dict[tuple[str, str, NodeId, int, str], int] = {}  # a result: where it lies
        self._fences: dict[tuple[str, str], list[TaskFenced]] = {}
        self._outcomes: dict[str, JobFinished] = {}

    def begin_epoch(self) -> None:
        """An operator has rescued a log: what others decided beside it binds nobody."""
        self._accepted.clear()
        self._late.clear()
        self._fences.clear()
        self._outcomes.clear()

    def by_fact(self) -> dict[type[Fact], Callable[[Host, Any], None]]:
        """Who wants to see which facts."""
        return {
            TaskAccepted: self._see_acceptance,
            ResultLate: self._see_late,
            TaskFenced: self._see_fence,
            TaskCloned: self._see_clone,
            FileMerged: self._see_merge,
            JobFinished: self._see_outcome,
        }

    def _see_acceptance(self, host: Host, fact: TaskAccepted) -> None:
        accepted = self._accepted.setdefault((fact.job, fact.task), fact)
        if accepted != fact:
            raise InvariantBroken("single_acceptance", f"{accepted} and {fact}")
        assert host.peer is not None
        job = host.peer.ledger.jobs.get(fact.job)
        if job is None:
            return
        state = job.tasks[fact.task]
        # A fence that lies earlier in the log holds. Of a task with several slots the fact does
        # not say which one it accepted, hence only the others are looked at.
        for fence in self._fences.get((fact.job, fact.task), ()) if len(state.slots) == 1 else ():
            came = state.accepted.index if state.accepted else fact.index
            if fence.index < came and fact.token < fence.token:
                raise InvariantBroken("fencing", f"{fence} and yet {fact}")
        accepted_text = state.accepted.text if state.accepted else ""
        by_quorum = state.task.prompt == SIMULATED and state.task.quorum.agree > 1
        by_other = state.task.verify_by is VerifyBy.OTHER
        if by_other and accepted_text.startswith(LIE):
            raise InvariantBroken("honest_review", f"{accepted_text!r} passed another's check")
        reviewer = state.accepted.reviewer if state.accepted else NOBODY
        if by_other and reviewer in (NOBODY, fact.node):
            raise InvariantBroken("reviewed_by_other", f"{reviewer!r} is the only witness: {fact}")
        if by_quorum and accepted_text not in ("", honest_text(fact.task)):
            raise InvariantBroken("honest_quorum", f"{accepted_text!r} won a quorum")

    def _see_late(self, host: Host, fact: ResultLate) -> None:
        """A result that is in the log already does not come to it late. Of a task with several
        slots the fact does not say which one it was for."""
        assert host.peer is not None
        job = host.peer.ledger.jobs.get(fact.job)
        if job is None or len(job.tasks[fact.task].slots) > 1:
            return
        accepted = self._accepted.get((fact.job, fact.task))
        is_accepted = accepted is not None and (accepted.node, accepted.token, accepted.digest) == (
            fact.node,
            fact.token,
            fact.digest,
        )
        result = (fact.job, fact.task, fact.node, fact.token, fact.digest)
        if is_accepted or self._late.setdefault(result, fact.index) != fact.index:
            raise InvariantBroken("one_result", f"it is in the log already: {fact}")

    def _see_fence(self, host: Host, fact: TaskFenced) -> None:
        self._fences.setdefault((fact.job, fact.task), []).append(fact)

    def _see_clone(self, host: Host, fact: TaskCloned) -> None:
        assert host.peer is not None
        found = host.peer.ledger.slot(fact.job, fact.task, fact.slot)
        if found is None:
            return  # a claim in the store of a job that has not come here yet
        job, _, slot = found
        racers = [slot.holder, *slot.racers]
        if len(set(racers)) < len(racers) or len(slot.racers) > job.job.speculation.clones:
            raise InvariantBroken("few_race", f"{racers} work on {fact.task}: {fact}")

    def _see_merge(self, host: Host, fact: FileMerged) -> None:
        """Where results have to be checked by another node, so has what becomes of them."""
        assert host.peer is not None
        job = host.peer.ledger.jobs.get(fact.job)
        if job is None or fact.fault:
            return
        tasks = [job.tasks[name] for name in fact.tasks]
        is_reviewed = any(state.task.verify_by is VerifyBy.OTHER for state in tasks)
        if is_reviewed and fact.reviewer in (NOBODY, fact.node):
            witness = f"{fact.reviewer!r} is the only witness"
            raise InvariantBroken("merge_reviewed", f"{witness}: {fact}")

    def _see_outcome(self, host: Host, fact: JobFinished) -> None:
        finished = self._outcomes.setdefault(fact.job, fact)
        if finished != fact:
            raise InvariantBroken("one_outcome", f"{finished} and {fact}")
        assert host.peer is not None
        job = host.peer.ledger.jobs.get(fact.job)
        if job is not None:  # and not forgotten again, where a log is caught up with
            _check_edits(job)

    def check_answer(self, hosts: Sequence[Host], job: Job, answer: str | None) -> None:
        """What a client was told of its submission is so: success means that this very job is in
        the ledgers, a refusal that it is not."""
        for host in hosts:
            state = host.peer.ledger.jobs.get(job.id) if host.peer else None
            is_there = state is not None and state.job == job
            if answer == "" and state is not None and not is_there:
                raise InvariantBroken("acknowledged_job", f"n{host.number} has another {job.id}")
            if answer and is_there:
                raise InvariantBroken("refused_job", f"n{host.number} has {job.id}: {answer}")

    def check_kept(self, hosts: Sequence[Host], job: Job, answer: str | None) -> None:
        """At the end of a run, at nodes that have converged: an acknowledged job is in every
        ledger."""
        for host in hosts:
            state = host.peer.ledger.jobs.get(job.id) if host.peer else None
            if answer == "" and (state is None or state.job != job):
                raise InvariantBroken("acknowledged_kept", f"n{host.number} has no {job.id}")


def _check_edits(job: JobState) -> None:
    """Whatever an accepted task has put into the shared file is there at the end of the job, in the
    file itself or in a version that could not be merged."""
    shared = [file for file in job.files() if file.path.startswith(SHARED)]
    words = b"\n".join(file.content for file in shared)
    for name, task in job.tasks.items():
        for file in task.accepted.files if task.accepted else ():
            wrote = file.path == SHARED and mark_of(name) in file.content
            if wrote and mark_of(name) not in words:
                raise InvariantBroken("edits_kept", f"{job.job.id} lost what {name} wrote")
