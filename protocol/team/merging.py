"""Merging: one file out of versions by tasks that had not seen each other.

Where their changes do not touch each other, that needs nobody (`three_way`). Where they do, a model
is shown all versions, what they began with and what each was for, and what it makes of them must
pass the checks of all their tasks. Programs cannot be asked: then there is no merge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from protocol import three_way
from protocol.effects import Assignment, Proposal, Purpose
from protocol.jobs import MODEL_KINDS, TEXT_SIZE_MAX, File, Quorum, VerifyBy
from protocol.ledger import JobState, Siblings
from protocol.team.orders import assignment_of


def merged_alone(job: JobState, siblings: Siblings) -> bytes | None:
    """The merge of changes that do not touch each other; None if they do. Each next version is
    merged with what it has in common with those before it."""
    path, (first, *others) = siblings
    edits = job.edits
    merged = job.version(path, first)
    seen = edits.seen(first) | edits.set_of([first])
    for task in others:
        base = _common(job, path, seen & edits.seen(task))
        other = job.version(path, task)
        if merged is None or other is None or base is None:
            return None
        merged = three_way.merge(base, merged, other)
        seen |= edits.seen(task) | edits.set_of([task])
    return merged


def _common(job: JobState, path: str, seen: int) -> bytes | None:
    """What two versions have both been made from. Where that was never one file it is merged for
    the purpose, as git does it (merge-recursive)."""
    found = job.edits.among(path, seen)
    return found if isinstance(found, bytes) else merged_alone(job, found)


def why_nobody_can(job: JobState, siblings: Siblings) -> str:
    """Why there is no agent to ask; empty if there is one."""
    if job.tasks[siblings[1][-1]].task.agent in MODEL_KINDS:
        return ""
    return "their changes touch each other, and only a model could be asked to merge them"


def merge_assignment(job: JobState, siblings: Siblings) -> Assignment:
    """What a model is asked: as the last of the tasks, to write that one file, so that the checks
    of all of them pass."""
    path, names = siblings
    tasks = [job.tasks[name].task for name in names]
    checks = [task.verify for task in tasks if task.verify.strip()]
    task = replace(
        tasks[-1],
        writes=(path,),
        verify=_all_of(checks),
        quorum=Quorum(),
        verify_by=VerifyBy.SELF,
    )
    needed = {file.path: file for name in names for file in job.inputs_of(job.tasks[name].task)}
    for name in names:
        accepted = job.tasks[name].accepted
        needed.update({file.path: file for file in accepted.files} if accepted else {})
    needed.pop(path, None)
    versions = zip(tasks, job.edits.versions(siblings), strict=True)
    base = job.edits.base(siblings)
    return replace(
        assignment_of(job, (job.job.id, names[-1], 0), 0),
        task=task,
        inputs=tuple(needed[name] for name in sorted(needed)),
        partial=(File(path, base),) if base else (),
        purpose=Purpose.MERGE,
        proposals=tuple(
            Proposal((File(path, content),), f"{each.title or each.id}\n\n{each.prompt}")
            for each, content in versions
        ),
    )


def _all_of(checks: Sequence[str]) -> str:
    """A shell command that passes if all of these do; the last one, if together they are too
    long."""
    together = " && ".join(f"( {check}\n)" for check in checks)
    return together if len(together.encode()) <= TEXT_SIZE_MAX else checks[-1]
