"""Merging: one file out of versions by tasks that had not seen each other.

Where their changes do not touch each other, that needs nobody (`three_way`). Where they do, or
where what comes of it is wrong, the job's `merge_program` or else a model is shown all versions,
what they began with and what each was for. Where there is neither, there is no merge.

Invariant: a merge passes the checks of all tasks whose versions go into it, however it was made.
"""

from __future__ import annotations

from dataclasses import replace

from protocol import three_way
from protocol.effects import Assignment, Check, Proposal, Purpose
from protocol.jobs import MODEL_KINDS, File, Quorum, VerifyBy, name_of_version
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


def can_ask(job: JobState, siblings: Siblings) -> bool:
    """Whether there is somebody to ask: the job's program, or the model of the last task."""
    return bool(job.job.merge_program) or job.tasks[siblings[1][-1]].task.agent in MODEL_KINDS


def merge_assignment(job: JobState, siblings: Siblings, notes: tuple[str, ...]) -> Assignment:
    """What is asked: as the last of the tasks, to write that one file, so that the checks of all of
    them pass. `notes` say why earlier merges did not. A program finds the versions as files beside
    each other, so each has a name of its own."""
    path, names = siblings
    tasks = [job.tasks[name].task for name in names]
    task = replace(tasks[-1], writes=(path,), verify="", quorum=Quorum(), verify_by=VerifyBy.SELF)
    program = job.job.merge_program
    if program:
        task = replace(task, agent="command", program=program)
    needed = {name: file for view in _views(job, siblings) for name, file in view.items()}
    versions = zip(tasks, job.edits.versions(siblings), strict=True)
    base = job.edits.base(siblings)
    return replace(
        assignment_of(job, (job.job.id, names[-1], 0), 0),
        task=task,
        inputs=tuple(needed[name] for name in sorted(needed)),
        partial=(File(path, base),) if base else (),
        notes=notes,
        purpose=Purpose.MERGE,
        proposals=tuple(
            Proposal(
                (File(name_of_version(path, each.id) if program else path, content),),
                f"{each.title or each.id}\n\n{each.prompt}",
            )
            for each, content in versions
        ),
        checks=checks_of(job, siblings),
    )


def check_assignment(job: JobState, siblings: Siblings, content: bytes) -> Assignment:
    """To run all the checks on a merge."""
    path, names = siblings
    return replace(
        assignment_of(job, (job.job.id, names[-1], 0), 0),
        purpose=Purpose.REVIEW,
        proposals=(Proposal((File(path, content),), ""),),
        checks=checks_of(job, siblings),
    )


def checks_of(job: JobState, siblings: Siblings) -> tuple[Check, ...]:
    """What a merge of these must pass, task by task; nothing if none of them has a check. Each is
    run beside the accepted inputs and results of all of them. Of another file that they share it
    sees what was made of all versions, and before that is settled its own task's."""
    names = siblings[1]
    views = _views(job, siblings)
    together = {name: file for view in views for name, file in view.items()}
    merged = _merged_beside(job, names, set(together))
    found = []
    for name, view in zip(names, views, strict=True):
        state = job.tasks[name]
        if state.task.verify.strip():
            beside = {**together, **view, **merged}
            inputs = tuple(beside[each] for each in sorted(beside))
            text = state.accepted.text if state.accepted else ""
            found.append(Check(state.task, inputs, text))
    return tuple(found)


def _views(job: JobState, siblings: Siblings) -> list[dict[str, File]]:
    """For each of the tasks the files that it built on and that it made, but for the merged one."""
    path, names = siblings
    found = []
    for name in names:
        state = job.tasks[name]
        results = state.accepted.files if state.accepted else ()
        files = (*job.inputs_of(state.task), *results)
        found.append({file.path: file for file in files if file.path != path})
    return found


def _merged_beside(job: JobState, names: tuple[str, ...], paths: set[str]) -> dict[str, File]:
    """Those of these paths that several tasks write, as somebody sees them who builds on all of
    the tasks, if that is one file."""
    seen = job.edits.set_of(names)
    for name in names:
        seen |= job.edits.seen(name)
    found = {}
    for path in paths & job.edits.shared.keys():
        content = job.edits.among(path, seen)
        if isinstance(content, bytes):
            found[path] = File(path, content)
    return found
