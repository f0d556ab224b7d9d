"""Whose turn it is to take which unit, as every node computes it by itself.

Nodes stand in tiers: those that have nothing to do, as far as is known here, come first, and of
equally urgent units each of them gets one. Where a taker does not come, the others follow one by
one, in an order that is different from job to job, and equal everywhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby

from protocol import claims
from protocol.claims import ClaimBook, Phase
from protocol.identity import NodeId
from protocol.jobs import ClaimMode
from protocol.ledger import Slot, Unit
from protocol.team.racing import Racing
from protocol.team.scene import Hands, Scene

Tiers = Sequence[Sequence[NodeId]]


class Turns:
    """The turns that one node has, and how many go before it."""

    def __init__(self, node: NodeId, slots: int, book: ClaimBook, racing: Racing) -> None:
        self.node = node
        self.slots = slots  # agents that one node runs at a time
        self._book = book
        self._racing = racing

    def tiers(self, scene: Scene) -> Tiers:
        """Who has nothing to do, as far as is known here; who only races; and who is at work and
        has room for more, those with less work first. This node is among them."""
        at_work: Counter[NodeId] = Counter()
        racing: set[NodeId] = set()
        by_lease = scene.job.job.claims is ClaimMode.LEASE
        for task, slot, unit in scene.ready:
            if task.task.asks_person:
                continue  # who waits for a person has nothing to do
            if slot.answer or (by_lease and self._book.get(unit) is None):
                continue
            worker = self._worker(scene, slot, unit)
            if worker:
                at_work[worker] += 1
            racing.update(self._racing.racers(scene.now, scene.view, unit))
        tiers: list[list[NodeId]] = [[] for _ in range(self.slots + 2)]
        for node in claims.idle_order(sorted(scene.view.alive), scene.job.job.id):
            number = at_work[node] + 1 if at_work[node] else int(node in racing)
            if node == self.node and scene.hands is Hands.AT_WORK:
                number = max(number, 2)
            elif node == self.node and at_work[node]:
                number = 1
            elif at_work[node] >= self.slots:
                continue
            tiers[min(number, len(tiers) - 1)].append(node)
        return tiers

    def takers(self, scene: Scene, units: Sequence[Unit], tiers: Tiers) -> Mapping[Unit, NodeId]:
        """Who takes what. The most urgent are shared out first, to the foremost nodes."""
        levels = scene.levels()
        takers: dict[Unit, NodeId] = {}
        free = [dict.fromkeys(tier) for tier in tiers]
        for _, urgent in groupby(units, key=lambda unit: levels.get(unit[1])):
            rest = list(urgent)
            for nodes in free:
                if not (rest and nodes):
                    continue
                shares = claims.share_out(rest, nodes, scene.view.alive)
                for node in shares.values():
                    del nodes[node]
                takers.update(shares)
                rest = [unit for unit in rest if unit not in shares]
        return takers

    def before(
        self,
        scene: Scene,
        units: Sequence[Unit],
        takers: Mapping[Unit, NodeId],
        tiers: Tiers,
    ) -> Mapping[Unit, int]:
        """How many go before this node, unit by unit; of equally urgent units its own comes first.
        Where a taker does not come, those after it in its tier do, then the tiers after that."""
        number = next(number for number, tier in enumerate(tiers) if self.node in tier)
        first = {node for tier in tiers[:number] for node in tier}
        places = {node: place for place, node in enumerate(tiers[number])}
        place = places[self.node]
        least = 1 if scene.hands is Hands.AT_WORK else 0  # what it has taken now nobody knows yet
        levels = scene.levels()
        turns: dict[Unit, int] = {}
        for _, urgent in groupby(units, key=lambda unit: levels.get(unit[1])):
            for unit in sorted(urgent, key=lambda unit: takers.get(unit) != self.node):
                taker = takers.get(unit)
                if taker == self.node:
                    turn = 0
                elif taker in places:
                    turn = len(first) + (place - places[taker]) % len(places)
                else:
                    turn = len(first) + place + (taker not in first)
                turns[unit] = least + turn
        return turns

    def _worker(self, scene: Scene, slot: Slot, unit: Unit) -> NodeId | None:
        """Who works on the unit, as far as is known here."""
        if scene.job.job.claims is not ClaimMode.LEASE:
            return slot.holder
        held = self._book.get(unit)
        if held is None or held.claim.phase is not Phase.WORKING:
            return None
        if slot.proposes(held.claim.node, held.claim.token):
            return None
        if held.claim.node == self.node:
            return self.node if unit in scene.own else None
        return held.claim.node if self._racing.is_living(scene.now, scene.view, held) else None
