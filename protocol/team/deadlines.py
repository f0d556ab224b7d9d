"""Deadlines: the time that a job may take, which each node enforces by its own clocks.

No majority is asked: who is cut off begins nothing more once the time is over, and stops what it
has begun. That the job has ended is for the log to say, as soon as it has a leader.

Time counts from the submission, by the wall clocks, so that neither a restart nor another leader
grants more; and from when the node first knew of the job, by its own monotonic clock, so that a
wall clock that is slow grants no more than once the time. A fast one ends the job early.
"""

from __future__ import annotations

from collections.abc import Sequence

from protocol.clocks import SECOND, Alarm, Nanoseconds
from protocol.ledger import JobState
from protocol.turn import Turn


class Deadlines:
    """Those of the jobs that go on, at one node."""

    def __init__(self, alarm: Alarm) -> None:
        self._alarm = alarm
        self._known_since: dict[str, Nanoseconds] = {}
        self._over: dict[str, str] = {}

    def check(self, turn: Turn, jobs: Sequence[JobState]) -> None:
        """Look whose time is over; the alarm rings when the next one's is."""
        known = self._known_since
        self._known_since = {job.job.id: known.get(job.job.id, turn.now) for job in jobs}
        self._over.clear()
        for job in jobs:
            if not job.job.budget.wall_s:
                continue
            left = self._left(turn, job)
            if left > 0:
                self._alarm.ask(turn.now + left)
            else:
                self._over[job.job.id] = f"the budget of {job.job.budget.wall_s:g} s is used up"

    def reason(self, job: str) -> str:
        """Why nothing more is done for a job; empty while it has time."""
        return self._over.get(job, "")

    def _left(self, turn: Turn, job: JobState) -> Nanoseconds:
        passed = max(turn.wall - job.submitted_at, turn.now - self._known_since[job.job.id])
        return int(job.job.budget.wall_s * SECOND) - passed
