"""What each node has to do, as far as one node can tell: what the log has given out, and what is
seen of the claims in LEASE mode, of which the log knows nothing.

In weights, and in the time that it is expected to take: by how long attempts of the same job took,
by weight, or a second for a weight of 1 as long as too little is known. What takes longer than it
was expected to is expected to take as long again as it has taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from protocol.claims import ClaimBook, Held, Phase
from protocol.clocks import SECOND, Nanoseconds
from protocol.config import TeamConfig
from protocol.identity import NodeId
from protocol.jobs import ClaimMode
from protocol.ledger import JobState, Slot, TaskState, Unit
from protocol.team.view import View

NOMINAL_NS = SECOND  # of a weight of 1, while nothing is known


@dataclass(slots=True)
class Workload:
    """One node's: `begun` units it works on, `ready` ones it could begin and has not; `left` is how
    long the begun ones are expected to take yet, all together; `weight` is that of all it was
    given, ready or not."""

    begun: int = 0
    ready: int = 0
    left: Nanoseconds = 0
    weight: float = 0.0

    @property
    def at_hand(self) -> int:
        """What keeps it from being idle."""
        return self.begun + self.ready


def workloads(
    now: Nanoseconds,
    view: View,
    jobs: Sequence[JobState],
    book: ClaimBook,
    config: TeamConfig,
) -> dict[NodeId, Workload]:
    """Of each living node, in a fixed order."""
    found = {node: Workload() for node in sorted(view.alive)}
    for job in jobs:
        is_ready = {unit for _, _, unit in job.ready_units()}
        for task, slot, unit in _open_units(job):
            held = _begun(now, job, slot, unit, book, config)
            node = held.claim.node if held else slot.holder
            if node not in found or slot.proposes(node, held.claim.token if held else slot.token):
                continue
            work = found[node]
            work.weight += task.task.weight
            if task.task.asks_person:
                continue  # who waits for a person is idle
            if held:
                work.begun += 1
                work.left += _left(now, job, task, held, book)
            elif unit in is_ready and not is_begun(slot, unit, book):
                work.ready += 1
    return found


def lease_loads(
    now: Nanoseconds,
    view: View,
    jobs: Iterable[JobState],
    book: ClaimBook,
    config: TeamConfig,
) -> dict[NodeId, Workload]:
    """The same of the jobs in LEASE mode alone: what the log does not tell."""
    by_lease = [job for job in jobs if job.job.claims is ClaimMode.LEASE]
    return workloads(now, view, by_lease, book, config)


def expected(job: JobState, weight: float, book: ClaimBook) -> Nanoseconds:
    """How long a task of this weight takes, as a rule."""
    usual = book.expected(job.job.id, weight, 50)
    return int(weight * NOMINAL_NS) if usual is None else usual


def is_begun(slot: Slot, unit: Unit, book: ClaimBook) -> bool:
    """Whether the holder that the log names was heard to have begun, or to be done."""
    held = book.get(unit)
    return held is not None and (held.claim.node, held.claim.token) == (slot.holder, slot.token)


def _open_units(job: JobState) -> Iterator[tuple[TaskState, Slot, Unit]]:
    if job.job.claims is ClaimMode.LEASE:  # nobody is given what is not ready
        yield from (each for each in job.ready_units() if not each[1].answer)
        return
    for task in job.tasks.values():
        for number, slot in enumerate(task.slots if task.is_open else ()):
            if not slot.answer:
                yield task, slot, (job.job.id, task.task.id, number)


def _begun(
    now: Nanoseconds, job: JobState, slot: Slot, unit: Unit, book: ClaimBook, config: TeamConfig
) -> Held | None:
    """The claim of whoever works on the unit."""
    held = book.get(unit)
    if held is None or held.claim.phase is not Phase.WORKING:
        return None
    if job.job.claims is not ClaimMode.LEASE and not is_begun(slot, unit, book):
        return None
    return held if now < held.heard_at + config.lease_ns else None


def _left(
    now: Nanoseconds, job: JobState, task: TaskState, held: Held, book: ClaimBook
) -> Nanoseconds:
    took = now - held.since
    left = expected(job, task.task.weight, book) - took
    return left if left > 0 else took
