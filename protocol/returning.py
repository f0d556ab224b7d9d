"""A late returner: a node that had to skip entries, for they were collected before they came here.
It may still show what one of them deleted, and has to hear what counts.

    something skipped                  late, which is kept on the disk
    a Summary equal to the own one     ask whoever sent it: it has had all that this node has had
    its answer                         drop what counts there no more: late no longer

Whoever is late itself says so in its answer, and that ends nothing: both may show the same deleted
value. If all the others are, as when two that had forgotten each other meet, then what is left is
the best there is. Those that are away for a while count among the others: who has just started has
met few, and one of the rest may know.
"""

from __future__ import annotations

from collections.abc import Sequence

from protocol.clocks import SECOND, Nanoseconds
from protocol.identity import NOBODY, NodeId

FIRST_WAIT_NS = SECOND
WAIT_MAX_NS = 64 * SECOND
LATE_FOR_NS = 16 * SECOND  # before who is late too is asked again


class Returning:
    """See the module's text."""

    def __init__(self, is_late: bool) -> None:
        self.is_late = is_late
        self._ask_at: Nanoseconds = 0
        self._wait = FIRST_WAIT_NS
        self._late_too: dict[NodeId, Nanoseconds] = {}  # who said that it is, and when
        self._asked = NOBODY

    def skipped(self, now: Nanoseconds) -> bool:
        """Something was; whether this node was not late before."""
        was_late, self.is_late = self.is_late, True
        self._ask_at, self._wait = now, FIRST_WAIT_NS
        self._late_too.clear()
        return not was_late

    def asks(self, node: NodeId, now: Nanoseconds) -> bool:
        """Whether to ask a node that has had the same as this one; seldom, for answers are long."""
        if not self.is_late or now < self._ask_at:
            return False
        if now < self._late_too.get(node, now - LATE_FOR_NS) + LATE_FOR_NS:
            return False
        self._ask_at = now + self._wait
        self._wait = min(2 * self._wait, WAIT_MAX_NS)
        self._asked = node
        return True

    def awaits(self, node: NodeId) -> bool:
        """Whether an answer of this node is wanted: nobody else's may make this one drop things."""
        return self.is_late and node == self._asked

    def answered(self, by_late: bool, others: Sequence[NodeId], now: Nanoseconds) -> bool:
        """The last of an answer came; whether that ends it. `others` are all that may know."""
        by, self._asked = self._asked, NOBODY
        if by_late:
            self._late_too[by] = now
            self._wait = FIRST_WAIT_NS
            if not self._late_too.keys() >= set(others):
                return False
        self.is_late = False
        return True
