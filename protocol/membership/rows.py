"""The rows of who reaches whom, on their way: when this node's goes out, what is made of those that
come in, and when both ends of a link have had time to look, so that it can be judged."""

from __future__ import annotations

from protocol.clocks import Nanoseconds
from protocol.membership.grapevine import Grapevine
from protocol.membership.probing import Probing
from protocol.membership.reach import Reach
from protocol.messages.membership import ReachRow
from protocol.timers import Timers
from protocol.turn import Turn


class Rows:
    """See the module's text."""

    def __init__(
        self,
        reach: Reach,
        grapevine: Grapevine,
        probing: Probing,
        timers: Timers,
        interval: Nanoseconds,
    ) -> None:
        """`interval` is that of the probes."""
        self._reach = reach
        self._grapevine = grapevine
        self._probing = probing
        self._timers = timers
        self._interval = interval
        self._is_due = False

    def tell_soon(self, turn: Turn) -> None:
        """One row for all that is found within an interval."""
        if self._reach.is_changed and not self._is_due:
            self._is_due = True
            self._timers.set(turn.now + self._interval // 2, self._tell)

    def _tell(self, turn: Turn) -> None:
        self._is_due = False
        row = self._reach.new_row(turn.now)
        if row is not None:
            self._grapevine.spread(row)
            self._judge_soon(turn)

    def take(self, turn: Turn, row: ReachRow) -> None:
        if not self._reach.take(row, turn.now):
            return
        self._grapevine.spread(row)
        if self._reach.doubts_us(row):
            self._probing.probe(turn, row.node)  # so that both ends know of both directions
        self._judge_soon(turn)

    def _judge_soon(self, turn: Turn) -> None:
        """Once both ends have had time to look."""
        self._timers.set(turn.now + 2 * self._interval, self._judge)

    def _judge(self, turn: Turn) -> None:
        settled = turn.now - 2 * self._interval
        for fact in self._reach.judge(settled):
            turn.report(fact)
