"""Which results of an earlier job count for one that goes on with it, and why the others do not.

Invariant: a result is taken over only if an agent that did the task now would be asked and given
the same, and its result be judged by the same: whatever a prompt or a check is made of is compared,
and all that the task builds on is taken over as well. How long a task may take, how often it is
tried, what it weighs beside others and who may claim it make its result no other one.
"""

from __future__ import annotations

from collections.abc import Iterator

from protocol.jobs import MODEL_KINDS, Compare, Job, Task
from protocol.ledger.edits import Siblings
from protocol.ledger.state import JobState, TaskState

# What makes a task the same, with the word for it.
_COMPARED = (
    ("prompt", "prompt"),
    ("needs", "list of needs"),
    ("writes", "list of files"),
    ("agent", "agent"),
    ("program", "program"),
    ("verify", "check"),
    ("verify_by", "verify_by"),
    ("quorum", "quorum"),
)


def why_anew(state: JobState, earlier: JobState) -> dict[str, str]:
    """For each task of the job, in topological order, why it is done anew; empty if the earlier
    job's result counts. It depends on the earlier job's results and on nothing of the job's own."""
    of_all = _change_for_all(state.job, earlier.job)
    remerged = merged_anew(state.job, earlier)
    reasons: dict[str, str] = {}
    for task_id in state.order:
        task = state.tasks[task_id].task
        before = earlier.tasks.get(task_id)
        anew = [need for need in task.needs if reasons[need]]
        if before is None:
            reason = "it is new"
        elif of_all:
            reason = of_all
        elif changes := list(_changes(state.job, task, earlier.job, before.task)):
            reason = f"changed: {', '.join(changes)}"
        elif before.accepted is None:
            reason = _why_not_accepted(before)
        elif remerged and (paths := [p for p, _ in remerged & _built_on(earlier, task_id)]):
            reason = f"it builds on {min(paths)}, which is merged anew"
        else:
            reason = f"it builds on {anew[0]}, which is done anew" if anew else ""
        reasons[task_id] = reason
    return reasons


def merged_anew(job: Job, earlier: JobState) -> set[Siblings]:
    """What an earlier job's agents or program have merged, and another program shall now."""
    if job.merge_program == earlier.job.merge_program:
        return set()
    return {siblings for siblings, merge in earlier.merges.items() if merge.by_agent}


def _built_on(earlier: JobState, task: str) -> set[Siblings]:
    """The versions of files that the task was given, or the merges of these."""
    return {(path, earlier.edits.seen_by(path, task)) for path in earlier.edits.shared}


def _change_for_all(job: Job, before: Job) -> str:
    """The job's files lie in the folder of every task."""
    now, then = ({file.path: file.content for file in each.files} for each in (job, before))
    changed = [path for path in sorted({*now, *then}) if now.get(path) != then.get(path)]
    return f"changed: the job's file {changed[0]}" if changed else ""


def _changes(job: Job, task: Task, job_before: Job, before: Task) -> Iterator[str]:
    for name, word in _COMPARED:
        if getattr(task, name) != getattr(before, name):
            yield word
    if task.quorum.compare is Compare.JUDGE and job.judge_program != job_before.judge_program:
        yield "judge"
    if task.agent in MODEL_KINDS or task.asks_person:  # these are words of its prompt
        if task.title != before.title:
            yield "title"
        if job.description != job_before.description:
            yield "the job's description"


def _why_not_accepted(before: TaskState) -> str:
    return f"it was given up: {before.abandoned}" if before.abandoned else "it was not done"
