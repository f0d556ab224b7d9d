"""What a job has cost: by its results in the log, and by the notes of attempts that gave none.

Who finishes what an earlier attempt has made tells what that has used as well, for its maker may be
dead, and often tells it, too. Invariant: each attempt counts once, whoever tells of it.
"""

from __future__ import annotations

from protocol.identity import NodeId
from protocol.jobs import NO_USAGE, Usage
from protocol.ledger import JobState
from protocol.team.notes import Notes


def costs_of(job: JobState, notes: Notes) -> list[tuple[str, NodeId, Usage]]:
    """What each attempt used, and each judge, merge and review, with its task and node; also after
    the job's end."""
    attempts = job.costs()
    others = []
    for task, share, slot in notes.costs(job.job.id):
        if slot is None:
            others.append((task, share.node, share.usage))
            continue
        attempt = (task, slot, share.node, share.token)
        attempts[attempt] = attempts.get(attempt, NO_USAGE).at_least(share.usage)
    return [(task, node, used) for (task, _, node, _), used in attempts.items()] + others


def spent_on(job: JobState, notes: Notes) -> Usage:
    """The sum of that."""
    total = NO_USAGE
    for _, _, usage in costs_of(job, notes):
        total = total.plus(usage)
    return total
