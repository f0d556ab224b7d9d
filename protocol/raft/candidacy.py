"""What a candidate, or one that only asks whether it should be one, counts.

It lives as long as the role. Requests are repeated: an answer may have been lost, and a voter that
refused since it had promised the old leader to wait may have waited by now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocol.clocks import Nanoseconds
from protocol.identity import NodeId
from protocol.messages.agreement import VoteReply, VoteRequest
from protocol.turn import Turn

if TYPE_CHECKING:
    from protocol.raft.core import Raft


class Candidacy:
    """The votes for `term`, this node's own among them. `pre` asks only; `transfer` says that the
    leader itself has asked for the election."""

    def __init__(self, raft: Raft, term: int, pre: bool, transfer: bool) -> None:
        self.term = term
        self.pre = pre
        self.transfer = transfer
        # The own vote counts once it is durable; to be asked costs nothing.
        self.grants: set[NodeId] = {raft.node} if pre else set()
        self.refusals: set[NodeId] = set()  # ever; who refused may have granted it later
        self.repeat_at: Nanoseconds = 0
        self._raft = raft

    def ask(self, turn: Turn) -> None:
        """Ask all voters that have not granted it yet."""
        raft = self._raft
        self.repeat_at = turn.now + raft.config.vote_repeat_ns
        request = VoteRequest(
            self.term, raft.log.last_index, raft.log.last_term, self.pre, self.transfer, raft.reach
        )
        for voter in raft.log.configuration.members:
            if voter != raft.node and voter not in self.grants:
                # The request says that our own vote is cast: that must be durable first.
                turn.send_durable(voter, request)

    def is_answered_by(self, message: VoteReply) -> bool:
        """Whether this is about what was asked, and not about something older."""
        return (message.asked, message.pre) == (self.term, self.pre)
