"""Which unit an idle node takes next, so that nodes which see the same take different ones.

The most urgent units come first (longest chain first), and of equally urgent ones each node takes
what suits it best of all nodes (rendezvous hashing): for that nobody need know who is idle. What
suits nobody who is idle is shared out among these, one each, by the same hash: every node computes
that by itself, and whoever takes its share leaves those of the others as they are. Where there is
plenty of equally urgent work, it is shared out among all, since it is not known who will be idle in
a moment. A node further from its turn waits a moment longer, in case the one before it does not
know, or is no more: that moment is all the coordination there is. And what suits another node best
is left to it for as long as news takes, for it may have come free just now. A node that has work
and room for more comes a moment after those that have none, for until it has told of what it has
just taken they would share out other units than it does.

Where tasks are over in no time, all of them are as good as equally urgent, and while there is
plenty nobody is told of a claim that suits its node best. Hence what suits a node best is left to
it for a moment after there was plenty: it may be at work on it already.

Who finds no unit for itself races one that takes long, by its turn as well; and who races counts as
idle, for a race is dropped for a task.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile

from protocol import claims
from protocol.claims import ClaimBook
from protocol.clocks import Alarm, Nanoseconds
from protocol.config import TeamConfig
from protocol.identity import NodeId
from protocol.jobs import ClaimMode
from protocol.ledger import JobState, Slot, TaskState, Unit
from protocol.team.eligible import Eligible
from protocol.team.failing import Failing
from protocol.team.racing import Racing
from protocol.team.scene import Hands, Scene
from protocol.team.spending import Spending
from protocol.team.turns import Turns
from protocol.team.view import View
from protocol.team.wishes import Wishes

SHARE_WINDOW = 4  # units for each node that are looked at: one of these suits each of them
QUIET_WINDOW = 2  # units for each node: while there are so many, a quick claim is not told of
LOOK_MAX = 1_024  # units of a quick job among which one that suits is looked for


@dataclass(frozen=True, slots=True)
class Chosen:
    """What to take. `undisputed`: nobody else wants it before it is done, so that nobody need be
    told of the claim."""

    unit: Unit
    undisputed: bool = False


class Choice:
    """The choices of one node: of what its agents do or, by another machine of this kind, of the
    questions that it asks people, which keep no slot and are told of at once."""

    def __init__(
        self,
        node: NodeId,
        config: TeamConfig,
        book: ClaimBook,
        racing: Racing,
        failing: Failing,
        spending: Spending,
        wishes: Wishes,
        alarm: Alarm,
        asks_people: bool = False,
    ) -> None:
        self.node = node
        self.config = config
        self._asks_people = asks_people
        self._book = book
        self._racing = racing
        self._failing = failing
        self._spending = spending
        self._eligible = Eligible(node, book, racing, failing, wishes)
        self._turns = Turns(node, config.slots, book, racing)
        self._alarm = alarm
        self._ready_since: dict[Unit, Nanoseconds] = {}
        self._overdue_since: dict[Unit, Nanoseconds] = {}
        self._plenty_at: dict[str, Nanoseconds] = {}  # when a job last had plenty of work

    def forget(self, job: str) -> None:
        """Drop what is known of a finished job."""
        for since in (self._ready_since, self._overdue_since):
            for unit in [unit for unit in since if unit[0] == job]:
                del since[unit]
        self._plenty_at.pop(job, None)

    def choose(
        self, now: Nanoseconds, view: View, job: JobState, own: Collection[Unit], hands: Hands
    ) -> Chosen | None:
        """The unit to take now, if any. `own` is what this node is at already, or has handed in."""
        scene = self._scene(now, view, job, own, hands, self._failing.ready_units(job))
        nodes = len(view.alive)
        room = nodes * self.config.slots
        takeable = self._takeable(scene, max(SHARE_WINDOW * nodes, QUIET_WINDOW * room))
        shared = self._shared(scene, takeable)
        is_plenty = len(shared) >= nodes
        if len(shared) >= room and job.job.claims is ClaimMode.LEASE:  # the log tells of all claims
            self._plenty_at[job.job.id] = now
        # Where there is less, what suits a node that is not free is some idle node's share.
        may_suit = hands is Hands.FREE or len(shared) >= (room if hands is Hands.AT_WORK else nodes)
        unit = self._suiting(scene, shared) if may_suit else None
        is_undisputed = unit is not None and len(shared) >= QUIET_WINDOW * room
        if unit is None:  # of one for each node, the last is this one's turn at the latest
            unit = self._in_turn(scene, takeable[:nodes], is_plenty)
        if unit is None:
            return None
        self._trim(self._ready_since, scene, ())
        return Chosen(unit, undisputed=is_undisputed and scene.quick)

    def _scene(
        self,
        now: Nanoseconds,
        view: View,
        job: JobState,
        own: Collection[Unit],
        hands: Hands,
        ready: Sequence[tuple[TaskState, Slot, Unit]],
    ) -> Scene:
        """Of questions to people, or of all else."""
        if job.asks_people:
            ready = [each for each in ready if each[0].task.asks_person == self._asks_people]
        quick = not self._asks_people and self._book.is_quick(job.job.id, 2 * self.config.tell_ns)
        return Scene(now, view, job, own, hands, ready, quick)

    def _suiting(self, scene: Scene, shared: Sequence[Unit]) -> Unit | None:
        """The first of the units that suits this node best of all; of a quick job also one that
        comes later, if it can be paid for."""
        found = next((unit for unit in shared if self._suits_best(scene, unit)), None)
        if found is not None or not shared or not scene.quick:
            return found
        further = (
            unit
            for task, slot, unit in islice(scene.ready, LOOK_MAX)
            if self._suits_best(scene, unit) and self._eligible.takeable(scene, task, slot, unit)
        )
        return next((unit for unit in further if self._delay(scene, unit) == 0), None)

    def _leave(self, scene: Scene) -> Nanoseconds:
        """For how long after there was plenty a unit is left to the node that it suits best: until
        that is done with it, or has told of it. Of a job that is not quick all claims are told."""
        return self.config.tell_ns + self.config.patience_ns if scene.quick else 0

    def _was_plenty(self, scene: Scene, since: Nanoseconds) -> bool:
        plenty_at = self._plenty_at.get(scene.job.job.id)
        return plenty_at is not None and since - plenty_at < self._leave(scene)

    def _shared(self, scene: Scene, takeable: Sequence[Unit]) -> Sequence[Unit]:
        """Units for which there is money, and of which it is all the same which is done first: with
        as long a chain behind them as the first has; any, if a task takes no longer than to agree
        on it would."""
        shared = [unit for unit in takeable if self._delay(scene, unit) == 0]
        if shared and not scene.quick:
            levels = scene.job.levels
            first = levels[shared[0][1]]
            shared = list(takewhile(lambda unit: levels[unit[1]] == first, shared))
        return shared

    def _suits_best(self, scene: Scene, unit: Unit) -> bool:
        return claims.suited_best(unit, scene.view.alive) == self.node

    def _left(
        self, scene: Scene, units: Sequence[Unit], idle: Collection[NodeId]
    ) -> Mapping[Unit, Nanoseconds]:
        """For how long units are left to the nodes that they suit best. Who seems idle may have
        taken its share while there was plenty."""
        left: dict[Unit, Nanoseconds] = {}
        leave = self._leave(scene)
        if not leave:
            return left
        for unit in units:
            best = claims.suited_best(unit, scene.view.alive)
            may_be_at_it = best != self.node and (best in idle or self.config.slots > 1)
            if may_be_at_it and self._was_plenty(scene, self._ready_since.get(unit, scene.now)):
                left[unit] = leave
        return left

    def choose_race(
        self, now: Nanoseconds, view: View, job: JobState, own: Collection[Unit], hands: Hands
    ) -> Unit | None:
        """The unit of somebody else to race now, if any; for a node that has nothing to take."""
        scene = self._scene(now, view, job, own, hands, job.ready_units())
        overdue = [
            unit
            for task, slot, unit in self._racing.overdue(now, view, job)
            if self._eligible.raceable(scene, task, slot, unit)
        ]
        if not overdue:
            self._trim(self._overdue_since, scene, ())
            return None
        tiers = self._turns.tiers(scene)
        foremost = self._takeable(scene, len(view.alive))
        takers = set(self._turns.takers(scene, foremost, tiers).values())
        if self.node in takers:
            return None  # there is a task for this node, in a moment
        rest = [node for tier in tiers for node in tier if node not in takers]
        rank = rest.index(self.node)
        # A moment later than a task would be: who is idle is not clear while tasks are taken.
        wait = dict.fromkeys(overdue, self.config.patience_ns // 4)
        turns = {unit: (rank - place) % len(rest) for place, unit in enumerate(overdue)}
        return self._due(scene, turns, self._overdue_since, wait)

    def _in_turn(self, scene: Scene, units: Sequence[Unit], is_plenty: bool) -> Unit | None:
        """The first of the units whose turn for this node has come."""
        if not units:
            self._trim(self._ready_since, scene, ())
            return None
        tiers = [sorted(scene.view.alive)] if is_plenty else self._turns.tiers(scene)
        takers = self._turns.takers(scene, units, tiers)
        turns = self._turns.before(scene, units, takers, tiers)
        idle = {node for tier in tiers[:2] for node in tier}
        return self._due(scene, turns, self._ready_since, self._left(scene, units, idle))

    def _due(
        self,
        scene: Scene,
        turns: Mapping[Unit, int],
        since: dict[Unit, Nanoseconds],
        left: Mapping[Unit, Nanoseconds],
    ) -> Unit | None:
        """The first of the units whose turn has come; some are `left` to others for so long."""
        self._trim(since, scene, turns)
        for unit, turn in turns.items():
            delay = self._delay(scene, unit)
            if delay is None:
                continue
            at = since.setdefault(unit, scene.now) + delay + left.get(unit, 0)
            at += self.config.patience_ns * turn
            if not self._suits_best(scene, unit):
                at += self.config.yield_ns
            if scene.now >= at:
                return unit
            self._alarm.ask(at)
        return None

    def _trim(self, since: dict[Unit, Nanoseconds], scene: Scene, units: Collection[Unit]) -> None:
        """Forget since when there were units which are no more."""
        for unit in [unit for unit in since if unit[0] == scene.job.job.id]:
            if unit not in units:
                del since[unit]

    def _delay(self, scene: Scene, unit: Unit) -> Nanoseconds | None:
        """For how long it is left to those who have rights to spend; None: for now."""
        task = scene.job.tasks[unit[1]].task
        return self._spending.patience(scene.now, scene.view, scene.job, task)

    def _takeable(self, scene: Scene, at_most: int) -> list[Unit]:
        """The first so many of them that this node may take."""
        found = (
            unit
            for task, slot, unit in scene.ready
            if self._eligible.takeable(scene, task, slot, unit)
        )
        return list(islice(found, at_most))
