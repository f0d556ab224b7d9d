"""Which unit an idle node takes next, so that nodes which see the same take different ones.

The ready units stand in an order (longest chain first), and so do the idle nodes (by a hash); the
first node takes the first unit, the second the second. Every node computes both orders by itself.
Where there is plenty of equally urgent work, each takes what suits it best of all nodes (rendezvous
hashing), and need not even know who is idle.
A node further from its turn waits a moment longer, in case the one before it does not know, or is
no more: that moment is all the coordination there is. Who finds no unit for itself races one that
takes long, in the same way; and who races counts as idle, for a race is dropped for a task.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import islice

from protocol import claims
from protocol.claims import ClaimBook, Phase
from protocol.clocks import Alarm, Nanoseconds
from protocol.config import TeamConfig
from protocol.identity import NodeId
from protocol.jobs import ClaimMode
from protocol.ledger import JobState, Slot, TaskState, Unit
from protocol.team.racing import Racing
from protocol.team.spending import Spending
from protocol.team.view import View
from protocol.team.wishes import Wishes

SHARE_WINDOW = 4  # units for each node that are looked at: one of these suits each of them


@dataclass(frozen=True, slots=True)
class _Scene:
    """A job as one node sees it at one moment. `own` is what this node is at already, `ready` what
    could be worked on."""

    now: Nanoseconds
    view: View
    job: JobState
    own: Collection[Unit]
    ready: Sequence[tuple[TaskState, Slot, Unit]]

    def able(self, task: TaskState) -> frozenset[NodeId]:
        """Who is there, without those whose result of the task another node found wrong."""
        return self.view.alive - {answer.node for answer in task.refuted()}


class Choice:
    """The choices of one node."""

    def __init__(
        self,
        node: NodeId,
        config: TeamConfig,
        book: ClaimBook,
        racing: Racing,
        spending: Spending,
        wishes: Wishes,
        alarm: Alarm,
    ) -> None:
        self.node = node
        self.config = config
        self._book = book
        self._racing = racing
        self._spending = spending
        self._wishes = wishes
        self._alarm = alarm
        self._ready_since: dict[Unit, Nanoseconds] = {}
        self._overdue_since: dict[Unit, Nanoseconds] = {}

    def forget(self, job: str) -> None:
        """Drop what is known of a finished job."""
        for since in (self._ready_since, self._overdue_since):
            for unit in [unit for unit in since if unit[0] == job]:
                del since[unit]

    def choose(
        self, now: Nanoseconds, view: View, job: JobState, own: Collection[Unit]
    ) -> Unit | None:
        """The unit to take now, if any. `own` is what this node is at already."""
        scene = _Scene(now, view, job, own, job.ready_units())
        share = self._own_share(scene)
        if share is not None:
            return share
        takeable = self._takeable(scene)
        idle, racing = self._idle(scene) if takeable else ([], [])
        order = [*idle, *racing]
        rank = self._rank(order)
        return self._in_turn(scene, takeable, rank, len(order), self._ready_since)

    def _own_share(self, scene: _Scene) -> Unit | None:
        """The first unit that suits this node best, where there are as many as nodes that are
        equally urgent: then nobody has to know who is idle, and no two take the same."""
        nodes = sorted(scene.view.alive)
        level = None
        equal: list[Unit] = []
        for task, slot, unit in scene.ready:
            if len(equal) >= SHARE_WINDOW * len(nodes):
                break
            if level is not None and scene.job.levels[task.task.id] < level:
                break
            if self._is_takeable(scene, task, slot, unit) and self._delay(scene, unit) == 0:
                level = scene.job.levels[task.task.id]
                equal.append(unit)
        if len(equal) < len(nodes):
            return None
        suiting = (
            unit
            for unit in equal
            if max(nodes, key=lambda node: claims.score(unit, node)) == self.node
        )
        return next(suiting, None)

    def choose_race(
        self, now: Nanoseconds, view: View, job: JobState, own: Collection[Unit]
    ) -> Unit | None:
        """The unit of somebody else to race now, if any; for a node that has nothing to take."""
        scene = _Scene(now, view, job, own, job.ready_units())
        overdue = [
            unit
            for task, slot, unit in self._racing.overdue(now, view, job)
            if self._may_race(scene, task, slot, unit)
        ]
        idle, _ = self._idle(scene) if overdue else ([], [])
        rank = self._rank(idle)
        if overdue:
            rank -= len(self._takeable(scene))
        if rank < 0:
            return None  # there is a task for this node, in a moment
        # A moment later than a task would be: who is idle is not clear while tasks are taken.
        wait = self.config.patience_ns // 4
        return self._in_turn(scene, overdue, rank, len(idle), self._overdue_since, wait)

    def _in_turn(
        self,
        scene: _Scene,
        units: Sequence[Unit],
        rank: int,
        nodes: int,
        since: dict[Unit, Nanoseconds],
        wait: Nanoseconds = 0,
    ) -> Unit | None:
        """The first of the units whose turn for the node of this rank has come."""
        for unit in [unit for unit in since if unit[0] == scene.job.job.id]:
            if unit not in units:
                del since[unit]
        for place, unit in enumerate(units):
            turn = (rank - place) % nodes
            delay = self._delay(scene, unit)
            if delay is None:
                continue
            at = since.setdefault(unit, scene.now) + wait + delay + self.config.patience_ns * turn
            if scene.now >= at:
                return unit
            self._alarm.ask(at)
        return None

    def _delay(self, scene: _Scene, unit: Unit) -> Nanoseconds | None:
        """For how long it is left to those who have rights to spend; None: for now."""
        task = scene.job.tasks[unit[1]].task
        return self._spending.patience(scene.view, scene.job, task)

    def _rank(self, order: list[NodeId]) -> int:
        """This node's place in the order, in which it is put if it is not."""
        if self.node not in order:
            order.append(self.node)
        return order.index(self.node)

    def _idle(self, scene: _Scene) -> tuple[list[NodeId], list[NodeId]]:
        """Who has nothing to do, as far as is known here; and who only races."""
        busy: set[NodeId | None] = set()
        racing: set[NodeId] = set()
        by_lease = scene.job.job.claims is ClaimMode.LEASE
        for _, slot, unit in scene.ready:
            if slot.answer or (by_lease and self._book.get(unit) is None):
                continue
            busy.add(self._worker(scene, slot, unit))
            racing.update(self._racing.racers(scene.now, scene.view, unit, slot, scene.job))
        order = claims.idle_order(sorted(scene.view.alive - busy), scene.job.job.id)
        idle = [node for node in order if node not in racing]
        return idle, [node for node in order if node in racing]

    def _takeable(self, scene: _Scene) -> list[Unit]:
        """The first of them: one for each node, and by then it is this one's turn."""
        found = (
            unit for task, slot, unit in scene.ready if self._is_takeable(scene, task, slot, unit)
        )
        return list(islice(found, len(scene.view.alive)))

    def _is_takeable(self, scene: _Scene, task: TaskState, slot: Slot, unit: Unit) -> bool:
        if slot.answer or unit in scene.own:
            return False
        if self._wishes.has("abandon", unit[:2]) or self._wishes.has("claim", unit):
            return False
        if self._answers_elsewhere(scene, task, unit) or self._was_wrong(scene, task):
            return False
        if scene.job.job.claims is ClaimMode.LEASE:
            return not self._is_held(scene, task, slot, unit)
        return not slot.holder

    def _was_wrong(self, scene: _Scene, task: TaskState) -> bool:
        """Whose result another node found wrong leaves the task to the others, if there are any."""
        able = scene.able(task)
        return bool(able) and self.node not in able

    def _may_race(self, scene: _Scene, task: TaskState, slot: Slot, unit: Unit) -> bool:
        held = self._book.get(unit)
        if unit in scene.own or self._wishes.has("clone", unit) or slot.has(self.node, slot.token):
            return False
        raced = self._book.races(unit).get(self.node)
        if held is None or (raced is not None and raced.claim.token == held.claim.token):
            return False  # it has tried already
        return held.claim.node != self.node and not self._answers_elsewhere(scene, task, unit)

    def _answers_elsewhere(self, scene: _Scene, task: TaskState, unit: Unit) -> bool:
        """Independent answers come from different nodes, if there are enough."""
        others = [
            (unit[0], unit[1], number) for number in range(len(task.slots)) if number != unit[2]
        ]
        if not others or len(scene.able(task)) < len(task.slots):
            return False
        return any(self._is_mine(task, other) for other in others)

    def _is_mine(self, task: TaskState, unit: Unit) -> bool:
        answer = task.slots[unit[2]].answer
        held = self._book.get(unit)
        return (answer is not None and answer.node == self.node) or (
            held is not None
            and held.claim.node == self.node
            and held.claim.phase is not Phase.RELEASED
        )

    def _is_held(self, scene: _Scene, task: TaskState, slot: Slot, unit: Unit) -> bool:
        """Whether a living lease protects the unit, the holder's or that of who takes its place."""
        held = self._book.get(unit)
        if held is None:
            return False
        is_wrong = task.is_refuted(unit[2], held.claim.node, held.claim.token)
        if held.claim.phase is not Phase.RELEASED and not is_wrong:
            if held.claim.node == self.node:
                return unit in scene.own  # a claim of an earlier life of this node is void
            if self._racing.is_living(scene.now, scene.view, held):
                return True
        return bool(self._racing.racers(scene.now, scene.view, unit, slot, scene.job))

    def _worker(self, scene: _Scene, slot: Slot, unit: Unit) -> NodeId | None:
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
