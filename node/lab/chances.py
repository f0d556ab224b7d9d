"""What comes of attempts that may fail: how many it takes, and how likely a task comes to nothing.

An attempt passes its check with the same chance whoever makes it; answers that pass are taken to
agree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from protocol.jobs import Compare, Job, Task


def answers_needed(task: Task) -> int:
    """With how many answers a task is done, if they agree."""
    quorum = task.quorum
    needs_all = quorum.compare is Compare.JUDGE and quorum.agree > 1  # a judge sees all at once
    return quorum.of if needs_all else quorum.agree


def attempts_of(task: Task, success: float) -> float:
    """How many attempts one answer takes on average, when the last one ends it either way.
    `success` is from 0 to 1."""
    if not success:
        return float(task.attempts_max)
    return float((1.0 - (1.0 - success) ** task.attempts_max) / success)


def abandoned(task: Task, success: float) -> float:
    """How likely it is that a task ends without a result: by the team's rule, when as many attempts
    have failed as its slots have together, in whichever slots, before enough have passed (negative
    binomial). A slot that has its answer is not attempted any more, but that closes none of the
    others."""
    needed = answers_needed(task)
    trials = needed + task.attempts_max * task.quorum.of - 1
    return math.fsum(
        math.comb(trials, passed) * success**passed * (1.0 - success) ** (trials - passed)
        for passed in range(needed)
    )


def failing(job: Job, success: Mapping[str, float]) -> float:
    """How likely it is that any of its tasks does. `success` is by task."""
    return 1.0 - math.prod(1.0 - abandoned(task, success[task.id]) for task in job.tasks)
