"""Committed entries for the nodes beyond the council: they spread from node to node, so that the
leader's work does not grow with the team.

    a voter that does not lead    teaches a few of the others what was committed just now
    whoever learns something new  passes it on to a few more, in a large team
    every gossip tick             a summary shows who lacks what, and they ask (see `Consensus`)

Each lesson carries the hash chain of the log, so nobody can be taught another log than the one that
the voters agreed on (epidemics: Demers et al. 1987; the chain makes them safe to believe).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log
from random import Random

from protocol.claims import score
from protocol.clocks import Nanoseconds
from protocol.config import RaftConfig
from protocol.identity import NodeId
from protocol.raft import Raft
from protocol.turn import Turn

PUPILS_MAX = 4  # whom one voter teaches itself
FANOUT_MAX = 6


class Spreading:
    """Decides who is taught; what and how is `Raft`'s."""

    def __init__(self, raft: Raft, config: RaftConfig, random: Random) -> None:
        self.raft = raft
        self.config = config
        self.random = random
        self._untold = 0  # first committed index that has not been passed on; 0 if none
        self.due_at: Nanoseconds | None = None
        self._told_at: Nanoseconds = -(2**62)

    def committed(self, now: Nanoseconds, first: int) -> None:
        """Entries from `first` on have been committed, or learnt, just now."""
        if not self._untold:
            self._untold = first
            self.due_at = max(now, self._told_at + self.config.spread_interval_ns)

    def flush(self, turn: Turn, alive: Sequence[NodeId], near: Sequence[NodeId]) -> None:
        """Pass on what is due, if possible to those of the living that are `near`."""
        if self.due_at is None or turn.now < self.due_at:
            return
        first, self._untold, self.due_at = self._untold, 0, None
        first = max(first, self.raft.log.first_index)
        if first > self.raft.commit:
            return
        pupils = self._pupils(alive, near)
        if pupils:
            self._told_at = turn.now
        for node in pupils:
            self.raft.following.teach(turn, node, first)

    def _pupils(self, alive: Sequence[NodeId], near: Sequence[NodeId]) -> list[NodeId]:
        """Whom this node teaches now."""
        configuration = self.raft.configuration
        served = configuration.everybody
        beyond = [node for node in alive if node not in served]
        if not beyond:
            return []
        if self.raft.node in served:
            return self._pupils_of_voter(beyond, alive, near)
        if len(beyond) + 1 <= PUPILS_MAX * max(1, len(configuration.voters) - 1):
            return []  # the voters teach everybody themselves
        fanout = min(max(ceil(log(len(beyond) + 1)) + 1, 2), FANOUT_MAX)
        return self._some(beyond, near, fanout)

    def _some(self, nodes: list[NodeId], near: Sequence[NodeId], count: int) -> list[NodeId]:
        """So many of these at random if they are near, or as many as are; one of the others if none
        is. The rest will hear of it from those that are told, or ask: a connection costs more than
        a hundred lessons, and a team that has just come together has few."""
        close = set(near)
        chosen = [node for node in nodes if node in close]
        if chosen:
            return self.random.sample(chosen, min(count, len(chosen)))
        return [self.random.choice(nodes)] if nodes else []

    def _pupils_of_voter(
        self, beyond: list[NodeId], alive: Sequence[NodeId], near: Sequence[NodeId]
    ) -> list[NodeId]:
        """Each of them has one teacher among the voters, as long as the voters agree on who of them
        is alive; where they do not, a summary shows later what somebody lacks."""
        if self.raft.leadership is not None and len(self.raft.configuration.voters) > 1:
            return []
        voters = self.raft.configuration.voters
        others = set(alive)
        living = [node for node in voters if node == self.raft.node or node in others]
        teachers = [node for node in living if node != self.raft.leader] or living
        if self.raft.node not in teachers:
            return []
        own = [
            node
            for node in beyond
            if self.raft.node
            == max(teachers, key=lambda teacher: score(("teach", node, 0), teacher))
        ]
        if len(beyond) <= PUPILS_MAX * len(teachers):
            return own
        return self._some(own, near, PUPILS_MAX)
