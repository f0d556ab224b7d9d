"""A node whose journal was damaged may have forgotten what it promised: an acknowledged entry, or a
vote. It follows and learns, and neither votes nor campaigns (`Raft.impaired`), until it is agreed
that it does not vote. It can be made a voter anew then.

Invariant: an impaired node helps nobody to win an election.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocol.effects import KeepImpairment
from protocol.facts import ImpairmentEnded
from protocol.turn import Turn

if TYPE_CHECKING:
    from protocol.raft.core import Raft


class Impairment:
    """See the module's text: how it ends."""

    def __init__(self, raft: Raft) -> None:
        self.raft = raft

    def heard_commit(self, turn: Turn, committed: int) -> None:
        """Somebody says that the log is committed up to there. An impaired node that has just that,
        up to an entry of the latest term it knows of, and finds itself outside of the latest
        configuration, has been voted out.

        While it only catches up it meets old configurations, from before it became a voter, and
        they prove nothing; nor does a leader that does not know itself yet how far the log is
        committed. This isn't ideal because whoever says it may be cut off, and far behind too.
        """
        raft = self.raft
        if not raft.impaired:
            return
        log = raft.log
        is_level = 0 < committed == raft.commit and log.term_at(committed) == raft.term
        is_settled = 0 < log.configuration_index <= raft.commit
        if is_level and is_settled and not raft.is_voter:
            self.end(turn)

    def end(self, turn: Turn) -> None:
        """It is agreed that this node does not vote: what it may have promised before binds nobody
        any more, and it can be made a voter anew."""
        if self.raft.impaired:
            self.raft.impaired = False
            self.raft.writes.persist(turn, KeepImpairment(impaired=False))
            turn.report(ImpairmentEnded(self.raft.commit))
