"""Which unit an idle node takes next, so that nodes which see the same take different ones.

The ready units stand in an order (longest chain first), and so do the idle nodes (by a hash); the
first node takes the first unit, the second the second. Every node computes both orders by itself.
A node further from its turn waits a moment longer, in case the one before it does not know, or is
no more: that moment is all the coordination there is.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from protocol import claims
from protocol.claims import ClaimBook, Phase
from protocol.clocks import Alarm, Nanoseconds
from protocol.config import TeamConfig
from protocol.identity import NodeId
from protocol.jobs import ClaimMode
from protocol.ledger import JobState, Slot, TaskState, Unit
from protocol.team.wishes import Wishes


@dataclass(frozen=True, slots=True)
class View:
    """What a node needs to know of the others to choose: who is alive (itself included), who has
    failed or left, and who leads (empty if unknown)."""

    alive: frozenset[NodeId]
    gone: frozenset[NodeId]
    leader: NodeId


class Choice:
    """The choices of one node."""

    def __init__(
        self, node: NodeId, config: TeamConfig, book: ClaimBook, wishes: Wishes, alarm: Alarm
    ) -> None:
        self.node = node
        self.config = config
        self._book = book
        self._wishes = wishes
        self._alarm = alarm
        self._ready_since: dict[Unit, Nanoseconds] = {}

    def forget(self, job: str) -> None:
        """Drop what is known of a finished job."""
        for unit in [unit for unit in self._ready_since if unit[0] == job]:
            del self._ready_since[unit]

    def choose(
        self, now: Nanoseconds, view: View, job: JobState, own: Collection[Unit]
    ) -> Unit | None:
        """The unit to take now, if any. `own` is what this node is at already."""
        ready = job.ready_units()
        takeable = [
            unit
            for task, slot, unit in ready
            if self._is_takeable(now, view, job, task, slot, unit, own)
        ]
        for unit in [unit for unit in self._ready_since if unit[0] == job.job.id]:
            if unit not in takeable:
                del self._ready_since[unit]
        busy = {
            self._worker(now, view, job, slot, unit, own)
            for _, slot, unit in ready
            if not slot.answer
        }
        idle = claims.idle_order(sorted(view.alive - busy), job.job.id)
        if self.node not in idle:
            idle.append(self.node)
        rank = idle.index(self.node)
        for place, unit in enumerate(takeable):
            since = self._ready_since.setdefault(unit, now)
            at = since + self.config.patience_ns * ((rank - place) % len(idle))
            if now >= at:
                return unit
            self._alarm.ask(at)
        return None

    def _is_takeable(
        self,
        now: Nanoseconds,
        view: View,
        job: JobState,
        task: TaskState,
        slot: Slot,
        unit: Unit,
        own: Collection[Unit],
    ) -> bool:
        if slot.answer or unit in own:
            return False
        if self._wishes.has("abandon", unit[:2]) or self._wishes.has("claim", unit):
            return False
        others = [
            (job.job.id, unit[1], number) for number in range(len(task.slots)) if number != unit[2]
        ]
        enough = len(view.alive) >= len(task.slots)
        if enough and any(self._is_mine(task, other) for other in others):
            return False  # independent answers come from different nodes
        if job.job.claims is ClaimMode.LEASE:
            return not self._is_held(now, view, unit, own)
        return not slot.holder

    def _is_mine(self, task: TaskState, unit: Unit) -> bool:
        answer = task.slots[unit[2]].answer
        held = self._book.get(unit)
        return (answer is not None and answer.node == self.node) or (
            held is not None
            and held.claim.node == self.node
            and held.claim.phase is not Phase.RELEASED
        )

    def _is_held(self, now: Nanoseconds, view: View, unit: Unit, own: Collection[Unit]) -> bool:
        """Whether a living lease protects the unit."""
        held = self._book.get(unit)
        if held is None or held.claim.phase is Phase.RELEASED:
            return False
        if held.claim.node == self.node:
            return unit in own  # a claim of an earlier life of this node is void
        ends_at = held.heard_at + self.config.lease_ns
        if held.claim.node in view.gone or now >= ends_at:
            return False
        self._alarm.ask(ends_at)
        return True

    def _worker(
        self,
        now: Nanoseconds,
        view: View,
        job: JobState,
        slot: Slot,
        unit: Unit,
        own: Collection[Unit],
    ) -> NodeId | None:
        """Who works on the unit, as far as is known here."""
        if job.job.claims is not ClaimMode.LEASE:
            return slot.holder
        held = self._book.get(unit)
        working = held is not None and held.claim.phase is Phase.WORKING
        return held.claim.node if held and working and self._is_held(now, view, unit, own) else None
