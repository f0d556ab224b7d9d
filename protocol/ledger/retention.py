"""Which jobs the ledger still has: all that go on, and the last finished ones, within bounds.

A team that lives long would else refuse its next job one day, and its snapshots would only grow. It
is decided when a job is taken on, from the log alone, so that all nodes forget the same ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from protocol.jobs import File
from protocol.ledger.state import Answer, JobState

JOBS_MAX = 1_000  # that are kept, finished or not
SIZE_MAX = 64 * 1024 * 1024  # bytes of files and answers in them, beyond which finished ones go


def to_forget(jobs: Mapping[str, JobState], newest: str) -> list[str]:
    """The finished jobs that there is no room for any more, those first that ended first. The
    newest stays in any case, be it finished already."""
    finished = [job for name, job in jobs.items() if job.is_finished and name != newest]
    sizes = {name: size_of(job) for name, job in jobs.items()}
    count, size = len(jobs), sum(sizes.values())
    forgotten = []
    for job in sorted(finished, key=lambda each: each.finished.index):
        if count <= JOBS_MAX and size <= SIZE_MAX:
            break
        forgotten.append(job.job.id)
        count -= 1
        size -= sizes[job.job.id]
    return forgotten


def size_of(job: JobState) -> int:
    """Bytes of the files and texts that a job began with and that were made of it."""
    merged = sum(len(merge.content) for merge in job.merges.values())
    merged += sum(len(merge.content) for _, merge in job.merges_to_review())
    answers = sum(_size_of(each.files) + len(each.text.encode()) for each in _answers(job))
    return _size_of(job.job.files) + merged + answers


def _answers(job: JobState) -> Iterator[Answer]:
    for task in job.tasks.values():
        yield from task.late
        for slot in task.slots:
            yield from slot.candidates
            if slot.answer:
                yield slot.answer


def _size_of(files: tuple[File, ...]) -> int:
    return sum(len(file.content) for file in files)
