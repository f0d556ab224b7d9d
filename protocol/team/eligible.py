"""What one node may take of a job, or race, whosever turn it is.

It takes what nobody holds, neither by a living lease nor by the log, and what it has not been told
to leave: where it has failed a pause goes first, what another node found wrong in its work is for
the others, and independent answers come from different nodes, as long as there are enough.
"""

from __future__ import annotations

from protocol.claims import ClaimBook, Phase
from protocol.identity import NodeId
from protocol.jobs import ClaimMode
from protocol.ledger import Slot, TaskState, Unit
from protocol.team.failing import Failing
from protocol.team.racing import Racing
from protocol.team.scene import PEOPLE_MAX, Scene
from protocol.team.wishes import Wishes


class Eligible:
    """What one node may take or race."""

    def __init__(
        self, node: NodeId, book: ClaimBook, racing: Racing, failing: Failing, wishes: Wishes
    ) -> None:
        self.node = node
        self._book = book
        self._racing = racing
        self._failing = failing
        self._wishes = wishes

    def takeable(self, scene: Scene, task: TaskState, slot: Slot, unit: Unit) -> bool:
        if slot.answer or unit in scene.own:
            return False
        if self._wishes.has("abandon", unit[:2]) or self._wishes.has("claim", unit):
            return False
        if self._answers_elsewhere(scene, task, unit) or self._was_wrong(scene, task):
            return False
        if self._failing.forbids(scene.now, scene.view, scene.job, task):
            return False
        if task.task.asks_person and self._asks_enough(scene):
            return False
        if scene.job.job.claims is ClaimMode.LEASE:
            return not self._is_held(scene, task, slot, unit)
        return not slot.holder

    def _was_wrong(self, scene: Scene, task: TaskState) -> bool:
        """Whose result another node found wrong leaves the task to the others, if there are any
        that could do it."""
        able = scene.able(task) - self._failing.lacking(scene.job, task)
        return bool(able) and self.node not in able

    def _asks_enough(self, scene: Scene) -> bool:
        """A question to a person keeps no slot, so nothing else would bound them."""
        own = (unit[1] for unit in scene.own if unit[0] == scene.job.job.id)
        return sum(scene.job.tasks[name].task.asks_person for name in own) >= PEOPLE_MAX

    def raceable(self, scene: Scene, task: TaskState, slot: Slot, unit: Unit) -> bool:
        held = self._book.get(unit)
        if unit in scene.own or self._wishes.has("clone", unit) or slot.has(self.node, slot.token):
            return False
        if held is None or self._book.has_raced(unit, self.node, held.claim.token):
            return False  # it has tried already
        if self._failing.forbids(scene.now, scene.view, scene.job, task):
            return False
        if self._failing.is_paused(scene.now, scene.view, self.node, task.task.agent):
            return False
        return held.claim.node != self.node and not self._answers_elsewhere(scene, task, unit)

    def _answers_elsewhere(self, scene: Scene, task: TaskState, unit: Unit) -> bool:
        """Independent answers come from different nodes, if there are enough."""
        others = [
            (unit[0], unit[1], number) for number in range(len(task.slots)) if number != unit[2]
        ]
        if not others:
            return False
        able = self._failing.able(scene.now, scene.view, scene.job, task)
        if len(able) < len(task.slots):
            return False
        return any(self._is_mine(scene, task, other) for other in others)

    def _is_mine(self, scene: Scene, task: TaskState, unit: Unit) -> bool:
        if unit in scene.own:
            return True
        answer = task.slots[unit[2]].answer
        if answer is not None:
            return answer.node == self.node  # whoever claimed it: a racer may have been first
        held = self._book.get(unit)
        return (
            held is not None
            and held.claim.node == self.node
            and held.claim.phase is not Phase.RELEASED
        )

    def _is_held(self, scene: Scene, task: TaskState, slot: Slot, unit: Unit) -> bool:
        """Whether a living lease protects the unit, the holder's or that of who takes its place."""
        held = self._book.get(unit)
        if held is None:  # or it was not told of, and its result waits for somebody's word
            return any(answer.node in scene.view.alive for answer in slot.candidates)
        is_wrong = task.is_refuted(unit[2], held.claim.node, held.claim.token)
        if held.claim.phase is not Phase.RELEASED and not is_wrong:
            if held.claim.node == self.node:
                return unit in scene.own  # a claim of an earlier life of this node is void
            if self._racing.is_living(scene.now, scene.view, held):
                return True
        return bool(self._racing.racers(scene.now, scene.view, unit))
