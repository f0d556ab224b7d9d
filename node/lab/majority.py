"""Whether a team of which processes have ended can still decide anything.

In a run nobody starts a process again that was killed: once the nodes that are left say that a
majority of the voters is lost, and go on saying so for a while, nothing will be accepted any more.
"""

from __future__ import annotations

import time

from node.lab.door import Doors

LOST_TIMEOUT_S = 5.0  # until a majority that is lost is given up
ASK_EVERY_S = 1.0


class Majority:
    """What the nodes that are left say of it, and since when."""

    def __init__(self) -> None:
        self._asked_at = 0.0
        self._lost_since = 0.0

    async def why_lost(self, doors: Doors) -> str:
        """Why there will be none; empty while there may be one. The nodes are asked now and then,
        however often this is called."""
        now = time.monotonic()
        if now - self._asked_at < ASK_EVERY_S:
            return ""
        self._asked_at = now
        statuses = [status for status in await doors.gather("/v1/status") if status]
        is_lost = [status["is_majority_lost"] and status["why_no_leader"] for status in statuses]
        if not statuses or not all(is_lost):
            self._lost_since = 0.0
            return ""
        self._lost_since = self._lost_since or now
        if now - self._lost_since < LOST_TIMEOUT_S:
            return ""
        furthest = max(statuses, key=lambda status: int(status["commit"]))
        return f"no majority is left to accept anything: {furthest['why_no_leader'][0]}"
