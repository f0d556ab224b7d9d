"""Leaving in good order: a voter hands over if it leads, waits until the others have put somebody
in its place or can do without it, and then says goodbye; after a while it goes in any case."""

from __future__ import annotations

from protocol.clocks import Nanoseconds
from protocol.consensus import Consensus
from protocol.membership import Membership
from protocol.turn import Turn

LEAVING = "leaving"  # metadata of the member record of a node that wants to


class Farewell:
    """See the module's text."""

    def __init__(self, membership: Membership, consensus: Consensus, timeout: Nanoseconds) -> None:
        self._membership = membership
        self._consensus = consensus
        self._timeout = timeout
        self._until: Nanoseconds | None = None
        self.is_said = False

    def deadline(self) -> Nanoseconds | None:
        """When to go in any case; None unless it wants to."""
        return self._until

    def begin(self, turn: Turn) -> None:
        """Ask the others to do without this node, if it votes."""
        if self._until is not None or self.is_said:
            return
        self._until = turn.now
        raft = self._consensus.raft
        heirs = any(self._consensus.follows(node) for node in self._membership.alive())
        if raft.is_voter and (heirs or len(raft.configuration.voters) > 1):
            self._until = turn.now + self._timeout
            self._membership.describe(**{LEAVING: "1"})
            self._consensus.leave(turn)

    def say_if_due(self, turn: Turn) -> bool:
        """Say goodbye once the others can do without this node, or time is over; whether it did."""
        if self._until is None:
            return False
        raft = self._consensus.raft
        if raft.leadership is not None:
            self._consensus.hand_over(turn)
        # Once a joint configuration is committed the new voters are on their own.
        is_settled = raft.log.configuration_index <= raft.commit
        is_free = is_settled and raft.node not in raft.configuration.voters
        if not is_free and turn.now < self._until:
            return False
        self._until = None
        self.is_said = True
        self._membership.leave(turn)
        return True
