"""A late returner: a node that had to skip entries, for they were collected before they came here.
It may still show what one of them deleted, and has to hear what counts.

    something skipped                  late, which is kept on the disk
    a Summary equal to the own one     ask whoever sent it: it has had all that this node has had
    its answer                         drop what counts there no more: late no longer

Whoever is late itself says so in its answer, and that ends nothing: both may show the same deleted
value. Only if nobody else answers, often enough, is it taken for the best there is.
"""

from __future__ import annotations

from protocol.clocks import SECOND, Nanoseconds
from protocol.identity import NOBODY, NodeId

FIRST_WAIT_NS = SECOND
WAIT_MAX_NS = 64 * SECOND
LATE_ANSWERS_MAX = 8


class Returning:
    """See the module's text."""

    def __init__(self, is_late: bool) -> None:
        self.is_late = is_late
        self._ask_at: Nanoseconds = 0
        self._wait = FIRST_WAIT_NS
        self._late_answers = 0
        self._asked = NOBODY

    def skipped(self, now: Nanoseconds) -> bool:
        """Something was; whether this node was not late before."""
        was_late, self.is_late = self.is_late, True
        self._ask_at, self._wait, self._late_answers = now, FIRST_WAIT_NS, 0
        return not was_late

    def asks(self, node: NodeId, now: Nanoseconds) -> bool:
        """Whether to ask a node that has had the same as this one; seldom, for answers are long."""
        if not self.is_late or now < self._ask_at:
            return False
        self._ask_at = now + self._wait
        self._wait = min(2 * self._wait, WAIT_MAX_NS)
        self._asked = node
        return True

    def awaits(self, node: NodeId) -> bool:
        """Whether an answer of this node is wanted: nobody else's may make this one drop things."""
        return self.is_late and node == self._asked

    def answered(self, by_late: bool) -> bool:
        """The last of an answer came; whether that ends it."""
        self._late_answers += by_late
        self._asked = NOBODY
        if by_late and self._late_answers < LATE_ANSWERS_MAX:
            return False
        self.is_late = False
        return True
