"""A node whose journal was damaged may have forgotten what it promised: an acknowledged entry, or a
vote. It follows and learns, and neither votes nor campaigns (`Raft.impaired`), until it is agreed
that it does not vote. It can be made a voter anew then.

That a node is outside of the configuration that it sees proves nothing: while it catches up it
meets old ones, from before it became a voter, and whoever teaches it may be far behind. So a leader
has to confirm how far the log is committed, as for a linearizable read.

Invariant: an impaired node helps nobody to win an election.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocol.effects import KeepImpairment
from protocol.facts.agreement import ImpairmentEnded
from protocol.turn import Turn

if TYPE_CHECKING:
    from protocol.raft.core import Raft


class Impairment:
    """See the module's text: how it ends."""

    def __init__(self, raft: Raft) -> None:
        self.raft = raft
        self._level_at: int | None = None  # the log was committed so far when this node asked

    def confirmed(self, turn: Turn, index: int) -> None:
        """A leader that a majority has confirmed since this node asked it, in this life, had
        committed the log up to `index`, and no change of its voters was under way."""
        if self._level_at is None or index < self._level_at:
            self._level_at = index
        self.check(turn)

    def check(self, turn: Turn) -> None:
        """Perhaps the log is here up to where it was confirmed: who is outside of the latest
        configuration then, has been voted out, or was never in."""
        raft = self.raft
        if not raft.impaired or self._level_at is None or raft.commit < self._level_at:
            return
        if 0 < raft.log.configuration_index <= raft.commit and not raft.is_voter:
            self.end(turn)

    def forget(self) -> None:
        """Another log is followed from now on."""
        self._level_at = None

    def end(self, turn: Turn) -> None:
        """It is agreed that this node does not vote: what it may have promised before binds nobody
        any more, and it can be made a voter anew."""
        if self.raft.impaired:
            self.raft.impaired = False
            self.raft.writes.persist(turn, KeepImpairment(impaired=False))
            turn.report(ImpairmentEnded(self.raft.commit))
