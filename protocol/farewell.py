"""Going in good order, for good or for a while. Whoever goes lets others have what it works on, and
hands over if it leads; it waits until its agents have ended, for their last words.

    leave   a voter also waits until the others have put somebody in its place or can do without it;
            then it says goodbye
    stop    the process ends and may come back: it stays a member, and also waits until somebody
            else leads, if anybody can be reached that could

After a while it goes in any case.
"""

from __future__ import annotations

from protocol.clocks import Nanoseconds
from protocol.config import RaftConfig
from protocol.consensus import Consensus
from protocol.membership import Membership
from protocol.team import Team
from protocol.turn import Turn

LEAVING = "leaving"  # metadata of the member record of a node that wants to


class Farewell:
    """See the module's text."""

    def __init__(
        self, membership: Membership, consensus: Consensus, team: Team, config: RaftConfig
    ) -> None:
        self._membership = membership
        self._consensus = consensus
        self._team = team
        self._config = config
        self._until: Nanoseconds | None = None
        self._leaves = False
        self._is_missed = False  # the others have to do without its vote first
        self.is_over = False

    @property
    def is_said(self) -> bool:
        """Whether this node has left for good."""
        return self.is_over and self._leaves

    def deadline(self) -> Nanoseconds | None:
        """When to go in any case; None unless it wants to."""
        return self._until

    def leave(self, turn: Turn) -> None:
        """Ask the others to do without this node, if it votes."""
        if self._leaves or self.is_over:
            return
        self._leaves = True
        self._until = turn.now + self._config.election_timeout_ns
        self._team.let_go(turn, "this node leaves", for_good=True)
        raft = self._consensus.raft
        heirs = any(self._consensus.follows(node) for node in self._membership.alive())
        if raft.is_voter and (heirs or len(raft.configuration.voters) > 1):
            self._is_missed = True
            self._until = turn.now + self._config.leave_timeout_ns
            self._membership.describe(**{LEAVING: "1"})
            self._consensus.leave(turn)

    def stop(self, turn: Turn) -> None:
        """Let another lead, and the agents end."""
        if self._until is not None or self.is_over:
            return
        self._team.let_go(turn, "this node stops")
        self._membership.stop(turn)
        self._until = turn.now + self._config.election_timeout_ns

    def end_if_due(self, turn: Turn) -> bool:
        """Go once the others can do without this node, or time is over; whether it did."""
        if self._until is None:
            return False
        self._consensus.hand_over(turn)
        may_go = self._is_replaced() if self._is_missed else not self._leads_on()
        if (self._team.running or not may_go) and turn.now < self._until:
            return False
        self._until = None
        self.is_over = True
        if self._leaves:
            self._membership.leave(turn)
        return True

    def _is_replaced(self) -> bool:
        raft = self._consensus.raft
        # Once a joint configuration is committed the new voters are on their own.
        is_settled = raft.log.configuration_index <= raft.commit
        return is_settled and raft.node not in raft.configuration.voters

    def _leads_on(self) -> bool:
        """Whether somebody is about to lead in its place, and does not yet."""
        leadership = self._consensus.raft.leadership
        return leadership is not None and bool(leadership.transferee)
