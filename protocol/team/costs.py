"""What a job has cost: by its results in the log, and by the notes of attempts that gave none.

Who finishes what an earlier attempt has made tells what that has used as well, for its maker may be
dead, and often tells it, too. Invariant: each attempt counts once, whoever tells of it.
"""

from __future__ import annotations

from protocol.jobs import NO_USAGE, Share, Usage
from protocol.ledger import JobState
from protocol.team.notes import Notes


def costs_of(job: JobState, notes: Notes) -> list[tuple[str, Share]]:
    """What each attempt used, and each judge, merge and review, with its task; also after the job's
    end."""
    attempts = job.costs()
    others = []
    for task, share, slot in notes.costs(job.job.id):
        if slot is None:
            others.append((task, share))
            continue
        attempt = (task, slot, share.node, share.token)
        attempts[attempt] = attempts.get(attempt, NO_USAGE).at_least(share.usage)
    shares = [(task, Share(node, token, used)) for (task, _, node, token), used in attempts.items()]
    return shares + others


def spent_on(job: JobState, notes: Notes) -> Usage:
    """The sum of that."""
    total = NO_USAGE
    for _, share in costs_of(job, notes):
        total = total.plus(share.usage)
    return total
