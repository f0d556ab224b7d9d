"""How a node with a damaged journal finds out that nobody counts on what it has forgotten.

    it is no voter, as far as it knows  ──▶ ReadRequest to the leader, from number SETTLED_FROM on
    the voters are settled, and a majority confirms that it leads  ──▶ ReadReply: the commit index
    this node has the log up to there, and is no voter in it  ──▶ it is impaired no more

What others merely tell may be old: a teacher may be cut off, a leader replaced, a message late. The
answer to a question of this life cannot be (ReadIndex; thesis, 6.4).
"""

from __future__ import annotations

from protocol.clocks import Nanoseconds
from protocol.identity import NodeId
from protocol.messages.agreement import SETTLED_FROM, ReadReply, ReadRequest
from protocol.raft import Raft
from protocol.turn import Turn

ROUND_BITS = 32  # of a question's number; above them is what tells one life of a node from another


class Readmission:
    """See the module's text. `nonce` tells this life of the node from its other ones."""

    def __init__(self, raft: Raft, nonce: bytes, retry_ns: Nanoseconds, now: Nanoseconds) -> None:
        self.raft = raft
        self._retry_ns = retry_ns
        self._ask_at = now
        life = (int.from_bytes(nonce, "big") << ROUND_BITS) % (2**62)
        self._number = self._before = SETTLED_FROM + life  # the last question; those up to `before`
        # were about another log, or another life's

    def _whom(self) -> NodeId | None:
        raft = self.raft
        return raft.leader if raft.impaired and not raft.is_voter and raft.leader else None

    def deadline(self) -> Nanoseconds | None:
        """When `tick` is due."""
        return self._ask_at if self._whom() is not None else None

    def tick(self, turn: Turn) -> None:
        """Ask the leader if it is time, there is one, and something to ask."""
        leader = self._whom()
        if leader is None or turn.now < self._ask_at:
            return
        self._ask_at = turn.now + self._retry_ns
        self._number += 1
        turn.send(leader, ReadRequest(self._number, lease=False))

    def confirmed(self, turn: Turn, reply: ReadReply) -> None:
        """A leader's answer, perhaps to this."""
        if self._before < reply.read <= self._number:
            self.raft.impairment.confirmed(turn, reply.index)

    def log_changed(self) -> None:
        """Another log is followed from now on: an answer about the old one says nothing."""
        self._before = self._number
