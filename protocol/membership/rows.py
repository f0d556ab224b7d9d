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

LARGE_TEAM = 32  # members


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
        self._judge_at: Nanoseconds | None = None

    def tell_soon(self, turn: Turn) -> None:
        """One row for all that is found within half an interval; in a large team, where trouble of
        many means many long rows for everybody, for all that is found in a longer time."""
        if self._reach.is_changed and not self._is_due:
            self._is_due = True
            wait = self._interval * max(1, self._reach.team_size // LARGE_TEAM) // 2
            self._timers.set(turn.now + wait, self._tell)

    def _tell(self, turn: Turn) -> None:
        self._is_due = False
        row = self._reach.new_row(turn.now)
        if row is not None:
            self._grapevine.spread(row, is_hot=False)
            self._judge_soon(turn)

    def take(self, turn: Turn, row: ReachRow) -> None:
        if not self._reach.take(row, turn.now):
            return
        self._grapevine.spread(row, is_hot=False)
        if self._reach.doubts_us(row):
            # So that both ends know of both directions. In a large team that is in trouble many say
            # so at a time.
            if self._reach.team_size <= LARGE_TEAM:
                self._probing.probe(turn, row.node)
            else:
                self._probing.probe_soon(row.node)
        self._judge_soon(turn)

    def _judge_soon(self, turn: Turn) -> None:
        """Once both ends of the last link that was told of have had time to look."""
        if self._judge_at is None:
            self._timers.set(turn.now + 2 * self._interval, self._judge)
        self._judge_at = turn.now + 2 * self._interval

    def _judge(self, turn: Turn) -> None:
        assert self._judge_at is not None
        if turn.now < self._judge_at:
            self._timers.set(self._judge_at, self._judge)
        else:
            self._judge_at = None
        settled = turn.now - 2 * self._interval
        for fact in self._reach.judge(settled):
            turn.report(fact)
