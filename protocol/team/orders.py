"""What every agent that works for a task is told of it, whether it does the work or looks at it."""

from __future__ import annotations

from protocol.effects import Answered, Assignment
from protocol.ledger import JobState, Unit


def assignment_of(job: JobState, unit: Unit, token: int) -> Assignment:
    """The task, its accepted inputs, and what of its job matters."""
    _, name, slot = unit
    task = job.tasks[name].task
    return Assignment(
        job=job.job.id,
        task=task,
        slot=slot,
        token=token,
        inputs=tuple(job.inputs_of(task)),
        answered=tuple(Answered(*each) for each in job.answered_for(task)),
        fixtures=job.job.files,
        description=job.job.description,
        is_metered=job.job.budget.is_metered,
        limits_money=job.job.budget.usd > 0.0,
    )
