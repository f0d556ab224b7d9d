"""Linearizable reads at a leader: ReadIndex (thesis, 6.4) and leases (6.4.1).

A read may be answered from index `commit` as it is when the read arrives, once it is certain that
nobody else led then: because a majority answers a message that was sent afterwards, or because a
majority has promised not to elect anybody yet. Before the leader has committed an entry of its own
term it does not know how far the log is committed; reads wait for that.

Invariant: a lease ends before the promise that it rests on, by a margin for clocks that drift apart
(`RaftConfig.lease_margin`), and it counts from when the message was sent, not answered.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from protocol.clocks import Nanoseconds
from protocol.errors import Busy
from protocol.turn import Turn

if TYPE_CHECKING:
    from protocol.raft.leadership import Leadership


class Reads:
    """The reads that wait at this leader, in order of arrival."""

    def __init__(self, leadership: Leadership) -> None:
        self.lease_allowed = True  # until a transfer is begun: its candidate is not held back
        self._leadership = leadership
        self._early: deque[tuple[object, bool]] = deque()  # no entry of this term is committed yet
        self._waiting: deque[tuple[int, int, object]] = deque()  # request, index, context
        self._next: deque[tuple[int, object]] = deque()  # for the round after the one under way
        self._round = 0  # the request that the round under way must see answered

    def __len__(self) -> int:
        return len(self._early) + len(self._waiting) + len(self._next)

    def ask(self, turn: Turn, context: object, lease: bool) -> None:
        """Take a read; Busy if too many wait."""
        leadership = self._leadership
        raft = leadership.raft
        if len(self) >= raft.config.reads_max:
            raise Busy(f"{len(self)} reads wait at the leader; try again")
        if raft.commit < leadership.began_index:
            self._early.append((context, lease))
        elif self._is_certain(turn.now, lease):
            turn.reads.append((context, raft.commit))
        elif self._waiting:
            self._next.append((raft.commit, context))
        else:
            self._next.append((raft.commit, context))
            self._begin_round(turn)

    def started(self, turn: Turn) -> None:
        """The first entry of this term is committed: now it is known what is."""
        while self._early:
            context, lease = self._early.popleft()
            self.ask(turn, context, lease)

    def confirm(self, turn: Turn) -> None:
        """Something was answered: perhaps by a majority."""
        if self._waiting and self._leadership.confirmed_request() >= self._round:
            while self._waiting:
                _, index, context = self._waiting.popleft()
                turn.reads.append((context, index))
            if self._next:
                self._begin_round(turn)

    def _begin_round(self, turn: Turn) -> None:
        """One message to everybody serves all reads that came before it."""
        self._round = self._leadership.request + 1
        while self._next:
            index, context = self._next.popleft()
            self._waiting.append((self._round, index, context))
        self._leadership.broadcast(turn, heartbeat=True)

    def _is_certain(self, now: Nanoseconds, lease: bool) -> bool:
        raft = self._leadership.raft
        if raft.log.configuration.members == (raft.node,):
            return True
        return lease and self.lease_allowed and now < self.lease_until()

    def lease_until(self) -> Nanoseconds:
        """Until when a majority has promised to elect nobody else, less the margin."""
        config = self._leadership.raft.config
        usable = config.lease_ns - int(config.lease_ns * config.lease_margin)
        return self._leadership.confirmed_at() + usable
