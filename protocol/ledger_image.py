"""The ledger as bytes, for snapshots, and back. Equal ledgers give equal bytes.

What follows from the jobs (levels, order) is not in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from protocol import codec, graph
from protocol.errors import RemoteProtocolError
from protocol.identity import NodeId
from protocol.jobs import Job
from protocol.ledger import (
    Answer,
    Grant,
    JobState,
    Ledger,
    Merge,
    Place,
    ProposedMerges,
    Slot,
    TaskState,
)


@dataclass(frozen=True, slots=True)
class _SlotImage:
    holder: NodeId
    token: int
    fence: int
    answer: tuple[Answer, ...]  # none or one
    racers: tuple[NodeId, ...]
    candidates: tuple[Answer, ...]


@dataclass(frozen=True, slots=True)
class _TaskImage:
    slots: tuple[_SlotImage, ...]
    accepted: int  # slot of the accepted answer + 1; 0 for none
    abandoned: str
    late: tuple[Answer, ...]
    judge: NodeId
    groups: tuple[int, ...]
    committed: Place


@dataclass(frozen=True, slots=True)
class _ProposedImage:
    path: str
    tasks: tuple[str, ...]
    waiting: tuple[Merge, ...]  # none or one
    refuted: tuple[Merge, ...]


@dataclass(frozen=True, slots=True)
class _JobImage:
    job: Job
    index: int
    submitted_at: int
    tasks: tuple[_TaskImage, ...]  # in the job's order
    outcome: str
    succeeded: bool
    finished: Place
    grants: tuple[tuple[NodeId, Grant], ...]
    merges: tuple[tuple[str, tuple[str, ...], Merge], ...]
    proposed: tuple[_ProposedImage, ...]


@dataclass(frozen=True, slots=True)
class _LedgerImage:
    jobs: tuple[_JobImage, ...]


def image_of(ledger: Ledger) -> bytes:
    """All that the log has led to."""
    return codec.pack_value(_LedgerImage(tuple(_job_image(job) for job in ledger.jobs.values())))


def jobs_of(image: bytes) -> list[JobState]:
    """The jobs of an image. RemoteProtocolError if it is none."""
    return [_job_of(job) for job in codec.unpack_value(_LedgerImage, image).jobs]


def restore(ledger: Ledger, jobs: Iterable[JobState], applied: int) -> None:
    """Be the ledger that the log up to `applied` has led to, with these jobs."""
    ledger.jobs.clear()
    ledger.jobs.update({state.job.id: state for state in jobs})
    ledger.applied = applied


def _job_image(state: JobState) -> _JobImage:
    return _JobImage(
        state.job,
        state.index,
        state.submitted_at,
        tuple(_task_image(state.tasks[task.id]) for task in state.job.tasks),
        state.outcome,
        state.succeeded,
        state.finished,
        tuple(sorted(state.grants.items())),
        tuple((*siblings, merge) for siblings, merge in sorted(state.merges.items())),
        tuple(
            _ProposedImage(*siblings, (each.waiting,) if each.waiting else (), tuple(each.refuted))
            for siblings, each in sorted(state.proposed.items(), key=lambda found: found[0])
        ),
    )


def _task_image(state: TaskState) -> _TaskImage:
    slots = tuple(
        _SlotImage(
            slot.holder,
            slot.token,
            slot.fence,
            (slot.answer,) if slot.answer else (),
            tuple(slot.racers),
            tuple(slot.candidates),
        )
        for slot in state.slots
    )
    accepted = state.accepted.slot + 1 if state.accepted else 0
    return _TaskImage(
        slots,
        accepted,
        state.abandoned,
        tuple(state.late),
        state.judge,
        state.groups,
        state.committed,
    )


def _job_of(image: _JobImage) -> JobState:
    job = image.job
    known = {task.id for task in job.tasks}
    fits = (
        len(image.tasks) == len(job.tasks) == len(known)
        and known.issuperset(need for task in job.tasks for need in task.needs)
        and graph.find_cycle(job.needs) is None
        and all(each.tasks and known.issuperset(each.tasks) for each in image.proposed)
    )
    if not fits:
        raise RemoteProtocolError(f"the image of job {job.id!r} does not fit it")
    tasks = {}
    for task, found in zip(job.tasks, image.tasks, strict=True):
        slots = [
            Slot(
                each.holder,
                each.token,
                each.fence,
                each.answer[0] if each.answer else None,
                list(each.racers),
                list(each.candidates),
            )
            for each in found.slots
        ]
        if len(slots) != task.quorum.of or found.accepted > len(slots):
            raise RemoteProtocolError(f"the image of task {task.id!r} does not fit it")
        accepted = slots[found.accepted - 1].answer if found.accepted else None
        if len(found.groups) not in (0, len(slots)):
            raise RemoteProtocolError(f"the image of task {task.id!r} does not fit it")
        tasks[task.id] = TaskState(
            task,
            slots,
            accepted,
            found.abandoned,
            list(found.late),
            found.judge,
            found.groups,
            found.committed,
        )
    return JobState(
        job,
        image.index,
        image.submitted_at,
        tasks,
        graph.bottom_levels(job.needs, job.weights),
        tuple(graph.topological_order(job.needs)),
        image.outcome,
        image.succeeded,
        image.finished,
        dict(image.grants),
        {(path, tasks): merge for path, tasks, merge in image.merges},
        {
            (each.path, each.tasks): ProposedMerges(
                each.waiting[0] if each.waiting else None, list(each.refuted)
            )
            for each in image.proposed
        },
    )
