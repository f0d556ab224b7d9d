"""Which members vote: the leader grows the council to 1, 3, 5, ... voters, up to its full size.

Invariant: only the leader proposes a change, one at a time and by joint consensus; the size is
odd, since an even one tolerates no more failures and needs a larger majority.
"""

from __future__ import annotations

from collections.abc import Sequence

from protocol.clocks import Nanoseconds
from protocol.config import RaftConfig
from protocol.facts import Fact, LeaderElected, MemberJoined, MemberRefuted, VotersChanged
from protocol.identity import NodeId
from protocol.raft import Raft, Role
from protocol.turn import Turn


class Council:
    """`expected` is how many nodes the operator said would come: no need to wait once they did."""

    def __init__(self, config: RaftConfig, expected: int, now: Nanoseconds) -> None:
        self.config = config
        self.expected = expected
        self._joined_at = now
        self._due_at: Nanoseconds | None = None

    def deadline(self) -> Nanoseconds | None:
        return self._due_at

    def learn(self, turn: Turn, fact: Fact) -> None:
        """Something happened that may call for a change."""
        match fact:
            case MemberJoined():
                self._joined_at = turn.now
                self._due_at = turn.now
            case MemberRefuted() | LeaderElected() | VotersChanged():
                self._due_at = turn.now
            case _:
                pass

    def look_again(self, now: Nanoseconds) -> None:
        """Somebody may have become a candidate."""
        self._due_at = now

    def decide(self, turn: Turn, raft: Raft, healthy: Sequence[NodeId]) -> None:
        """Propose a larger council if this node leads and there are members for it. A suspect is
        none: a change that needs the vote of somebody who is gone may never end."""
        if self._due_at is None or turn.now < self._due_at:
            return
        self._due_at = None
        if raft.role is not Role.LEADER:
            return
        voters = raft.log.configuration.voters
        candidates = [node for node in sorted(healthy) if node not in voters]
        size = min(self.config.council_size, len(voters) + len(candidates))
        size -= 1 - size % 2
        if size <= len(voters):
            return
        settled_at = self._joined_at + self.config.settle_ns
        if len(healthy) + 1 < self.expected and turn.now < settled_at:
            self._due_at = settled_at
            return
        chosen = (*voters, *candidates[: size - len(voters)])
        if not raft.change_voters(turn, chosen):
            self._due_at = turn.now + self.config.heartbeat_ns  # a change or a term is not settled
