"""How the others look to each machine of a node: whom the store waits for, who may vote, who is
there to work, how many voters are in reach. Read from what membership and agreement know now."""

from __future__ import annotations

from protocol.clocks import Nanoseconds
from protocol.config import Config
from protocol.consensus import Consensus
from protocol.council import Standing
from protocol.farewell import LEAVING
from protocol.identity import NodeId
from protocol.membership import Membership, State
from protocol.relaying import Relaying
from protocol.store import Store
from protocol.team import View

JOURNAL, IMPAIRED = "journal", "impaired"  # metadata of member records


class Outlook:
    """See the module's text."""

    def __init__(
        self,
        config: Config,
        store: Store,
        membership: Membership,
        consensus: Consensus,
        relaying: Relaying,
    ) -> None:
        self._config = config
        self._store = store
        self._membership = membership
        self._consensus = consensus
        self._relaying = relaying
        self._alive: frozenset[NodeId] = frozenset()

    def awaited(self, now: Nanoseconds) -> list[NodeId]:
        """Those that the store waits for until it drops anything: who is away for longer than the
        horizon asks, when it comes back, what still counts. That has to be the lesser part, of
        those also who were forgotten meanwhile: else what one node alone drops, and then dies with,
        deletes nothing anywhere else."""
        horizon = now - self._config.gossip.horizon_ns
        members = self._membership.members()
        everybody = [node for node, each in members.items() if each.state is not State.LEFT]
        everybody += self._membership.missed(now)
        if not everybody:  # a newcomer that has not been told yet who is there (seed 40640)
            own = self._membership.node
            return [NodeId(author) for author in self._store.vector() if author != own]
        awaited = [
            node
            for node, each in members.items()
            if each.is_here or (each.since > horizon and each.state is not State.LEFT)
        ]
        return awaited if len(awaited) + 1 > (len(everybody) + 1) / 2 else everybody

    def reach(self, now: Nanoseconds) -> int:
        """How many members of the configuration, this one included, were heard from of late."""
        window = self._config.raft.reach_window_ns
        return self._relaying.reach(self._consensus.raft.configuration.members, now, window)

    def standings(self) -> dict[NodeId, Standing]:
        """What the council has to know of the others."""
        found = {}
        for node, member in self._membership.members().items():
            if member.state is State.REMEMBERED:
                continue
            said = dict(member.record.metadata)
            found[node] = Standing(
                healthy=member.state is State.ALIVE and not member.degraded,
                failed=member.state is State.FAILED,
                left=member.state is State.LEFT,
                leaving=LEAVING in said,
                impaired=said.get(JOURNAL) == IMPAIRED,
                follows=self._consensus.follows(node),
                since=member.since,
            )
        return found

    def view(self) -> View:
        """Whom this node takes for alive, for gone, and for the leader."""
        raft = self._consensus.raft
        alive = frozenset({self._membership.node, *self._membership.alive()})
        if alive != self._alive:
            self._alive = alive  # the same object while they are the same: caches find it at once
        gone = frozenset(self._membership.gone())
        return View(self._alive, gone, raft.leader, raft.configuration.spares(alive))
