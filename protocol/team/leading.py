"""What the leader does for the jobs whose claims live in the log: take tasks from the lost, give
out what is free, let the idle take over what the busy were given, and keep the budget.

A node that was given more than it can do, or that does not begin, does not hold it while others
idle (work stealing; Blumofe and Leiserson 1999): the log takes it back, and gives it to an idle
node. What has begun stays, for a result is on its way; if it takes long it is raced.

A new leader goes on from the ledger and the store alone: all that is remembered beside them is
since when nobody has begun a unit, and how often it was taken back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from protocol import claims
from protocol.claims import ClaimBook, Phase
from protocol.clocks import Alarm, Nanoseconds
from protocol.config import TeamConfig
from protocol.facts.work import LeaseExpired
from protocol.identity import NOBODY, NodeId
from protocol.jobs import NOTHING, Amount, ClaimMode, Usage
from protocol.ledger import JobState, Slot, TaskState, Unit, load_of
from protocol.team.deadlines import Deadlines
from protocol.team.failing import Failing
from protocol.team.racing import Racing
from protocol.team.scene import PEOPLE_MAX
from protocol.team.view import View
from protocol.team.wishes import Wishes
from protocol.team.workload import Workload, expected, is_begun, lease_loads, workloads
from protocol.turn import Turn

TAKEN_BACK_MAX = 3  # times that a unit goes to an idle node while this one leads


class Leading:
    """The duties of the leader."""

    def __init__(
        self,
        config: TeamConfig,
        book: ClaimBook,
        racing: Racing,
        failing: Failing,
        deadlines: Deadlines,
        wishes: Wishes,
        alarm: Alarm,
    ) -> None:
        self.config = config
        self._book = book
        self._racing = racing
        self._failing = failing
        self._deadlines = deadlines
        self._wishes = wishes
        self._alarm = alarm
        self._waits_since: dict[Unit, tuple[int, Nanoseconds]] = {}  # under which token
        self._taken_back: Counter[Unit] = Counter()

    def lead(
        self,
        turn: Turn,
        view: View,
        jobs: Sequence[JobState],
        spent_on: Callable[[JobState], Usage],
    ) -> None:
        """Do for the jobs that are going on what a leader has to do now. `spent_on` tells what was
        consumed for a job, with or without success."""
        for job in jobs:
            for task, reason in self._failing.in_vain(view, job):
                self._wishes.abandon(turn.now, job, task, reason)
        by_log = [job for job in jobs if job.job.claims is not ClaimMode.LEASE]
        by_lease = lease_loads(turn.now, view, jobs, self._book, self.config) if by_log else {}
        load = {node: by_lease[node].begun if by_log else 0 for node in sorted(view.alive)}
        free = [self._take_stock(turn, view, job, load) for job in by_log]
        known = {job.job.id: job for job in jobs}
        for claim in self._wishes.claims():
            of = known.get(claim.job)
            if claim.node in load and not (of and of.tasks[claim.task].task.asks_person):
                load[claim.node] += 1
        for job, units in zip(by_log, free, strict=True):
            if job.job.claims is ClaimMode.ASSIGNED and units:
                self._assign(turn, view, job, units, load, self._weights(by_log, by_lease, known))
            else:
                self._give_out(turn, view, job, units, load)
        for job in by_log:
            self._end_races(turn, view, job)
        for node in self._races(by_log):
            if node in load:
                load[node] += 1
        for job in by_log:
            if job.job.claims is not ClaimMode.RAFT:  # there who is idle says so itself
                self._give_out_races(turn, view, job, load)
        self._take_back(turn, view, jobs)
        for job in jobs:
            self._enforce_budget(turn, job, spent_on)

    def _take_stock(
        self, turn: Turn, view: View, job: JobState, load: dict[NodeId, int]
    ) -> list[Unit]:
        """Units to give out, longest chain first; what the living hold and could work on is added
        to their load. What the lost hold is fenced on the way, and becomes free when that is in the
        ledger."""
        free: list[Unit] = []
        by_plan = job.job.claims is ClaimMode.ASSIGNED
        handed_out = by_plan or job.job.claims is ClaimMode.LEADER
        order = sorted(job.tasks.values(), key=lambda task: -job.levels[task.task.id])
        for task in sorted(order, key=lambda task: self._failing.times_struck(job.job.id, task)):
            for number, slot in enumerate(task.slots if task.is_open else ()):
                unit = (job.job.id, task.task.id, number)
                if slot.answer or self._wishes.has("abandon", unit[:2]):
                    continue
                if slot.holder and self._is_lost(turn, view, unit, slot):
                    if not self._wishes.has("fence", unit):
                        turn.report(LeaseExpired(*unit, slot.holder, slot.token))
                        self._wishes.fence(turn.now, unit, slot.token + 1)
                elif slot.holder:
                    is_work = job.is_ready(task) and not slot.proposes(slot.holder, slot.token)
                    load[slot.holder] += is_work and not task.task.asks_person
                elif by_plan or (handed_out and job.is_ready(task)):
                    free.append(unit)
        return free

    def _give_out(
        self, turn: Turn, view: View, job: JobState, free: list[Unit], load: dict[NodeId, int]
    ) -> None:
        """To who is idle, while somebody is; questions to people also to who is busy."""
        questions = {unit for unit in free if job.tasks[unit[1]].task.asks_person}
        asked = self._asked(job, load) if questions else {}
        for unit in sorted(free, key=lambda unit: unit not in questions):
            is_question = unit in questions
            if not is_question and min(load.values()) >= self.config.slots:
                return  # everybody is busy
            if self._wishes.has("claim", unit):
                continue
            counts = asked if is_question else load
            node = self._least(turn, view, counts, job, unit)
            if node and counts[node] < (PEOPLE_MAX if is_question else self.config.slots):
                counts[node] += 1  # else it waits for those who may do it
                self._wishes.claim(turn.now, unit, node)

    def _asked(self, job: JobState, nodes: Iterable[NodeId]) -> dict[NodeId, int]:
        """How many of its questions to people each of these nodes has open, or is about to."""
        asked = dict.fromkeys(nodes, 0)
        given = [
            (claim.task, claim.node) for claim in self._wishes.claims() if claim.job == job.job.id
        ]
        for state in job.tasks.values():
            if state.is_open and state.task.asks_person:
                given += [(state.task.id, slot.holder) for slot in state.slots if not slot.answer]
        for name, node in given:
            if node in asked:
                asked[node] += job.tasks[name].task.asks_person
        return asked

    def _assign(
        self,
        turn: Turn,
        view: View,
        job: JobState,
        free: list[Unit],
        load: dict[NodeId, int],
        weights: dict[NodeId, float],
    ) -> None:
        """Ready or not, to whoever has least to do by weight: what was planned for the lost."""
        for unit in free:
            if self._wishes.has("claim", unit):
                continue
            node = self._least(turn, view, weights, job, unit)
            if node:
                task = job.tasks[unit[1]].task
                load[node] += not task.asks_person
                weights[node] += task.weight
                self._wishes.claim(turn.now, unit, node)

    def _least(
        self, turn: Turn, view: View, load: Mapping[NodeId, float], job: JobState, unit: Unit
    ) -> NodeId:
        """Who has least to do, of those whose result was not found wrong if there are such, who do
        not leave the task to others, and who give it no other answer if there are enough; empty
        while all of them pause."""
        task = job.tasks[unit[1]]
        others = self._answering(turn, view, job, unit)
        able = [
            node
            for node in load
            if node not in others and not self._failing.leaves(turn.now, view, job, task, node)
        ]
        wrong = {answer.node for answer in task.refuted()}
        able = [node for node in able if node not in wrong] or able
        awake = [n for n in able if not self._failing.keeps_off(turn.now, view, job, task, n)]
        return min(awake, key=lambda node: (load[node], claims.score(unit, node)), default=NOBODY)

    def _answering(self, turn: Turn, view: View, job: JobState, unit: Unit) -> set[NodeId]:
        """Who gives another of several independent answers, if there are nodes enough for each to
        give one."""
        task = job.tasks[unit[1]]
        wanted = len(task.slots)
        if wanted == 1 or len(self._failing.able(turn.now, view, job, task)) < wanted:
            return set()
        on_the_way = (each for each in self._wishes.claims() if (each.job, each.task) == unit[:2])
        others = [slot for number, slot in enumerate(task.slots) if number != unit[2]]
        # Of a slot that has an answer its author alone: who was outrun there is free for another.
        at_it = {node for slot in others if not slot.answer for node in (slot.holder, *slot.racers)}
        answers = {answer.node for answer in task.answers}
        return {each.node for each in on_the_way} | at_it | answers

    def _weights(
        self,
        jobs: Sequence[JobState],
        by_lease: Mapping[NodeId, Workload],
        known: Mapping[str, JobState],
    ) -> dict[NodeId, float]:
        """What each of these nodes was given to do or has taken, or is about to be given."""
        given = load_of(jobs)
        weights = {node: given.get(node, 0.0) + work.weight for node, work in by_lease.items()}
        for claim in self._wishes.claims():
            if claim.node in weights and claim.job in known:
                weights[claim.node] += known[claim.job].tasks[claim.task].task.weight
        return weights

    # -- taking back ---------------------------------------------------------------------------

    def _take_back(self, turn: Turn, view: View, jobs: Sequence[JobState]) -> None:
        """Let the idle have what was given to those who cannot begin it now, or do not."""
        given_out = [job for job in jobs if job.job.claims is not ClaimMode.LEASE]
        names = {job.job.id for job in given_out}
        before, self._waits_since = self._waits_since, {}
        for unit in [unit for unit in self._taken_back if unit[0] not in names]:
            del self._taken_back[unit]
        if not given_out:
            return
        work = workloads(turn.now, view, jobs, self._book, self.config)
        for claim in self._wishes.claims():
            if claim.node in work:
                work[claim.node].ready += 1
        begins_in = {node: each.left // self.config.slots for node, each in work.items()}
        ahead = {node: each.begun for node, each in work.items()}
        for job in given_out:
            for task, slot, unit in job.ready_units():
                node = slot.holder
                if slot.answer or node not in work or is_begun(slot, unit, self._book):
                    continue
                token, since = before.get(unit, (0, turn.now))
                since = since if token == slot.token else turn.now
                self._waits_since[unit] = slot.token, since
                is_free = ahead[node] < self.config.slots
                if self._may_take_back(turn, unit, since, 0 if is_free else begins_in[node]):
                    self._give_to_idle(turn, view, job, task, unit, work)
                ahead[node] += 1
                usual = expected(job, task.task.weight, self._book)
                begins_in[node] += usual // self.config.slots

    def _may_take_back(
        self, turn: Turn, unit: Unit, since: Nanoseconds, begins_in: Nanoseconds
    ) -> bool:
        """Whether its holder had time enough to begin, or is expected to be busy for longer than it
        takes to give the unit away. The patience doubles, so that nothing goes round."""
        taken = self._taken_back[unit]
        kinds = ("fence", "claim")
        if taken >= TAKEN_BACK_MAX or any(self._wishes.has(kind, unit) for kind in kinds):
            return False
        if self._wishes.has("abandon", unit[:2]):
            return False
        is_busy = begins_in > self.config.patience_ns
        patience = self.config.patience_ns if is_busy else self.config.begin_ns
        at = since + (patience << taken)
        if turn.now < at:
            self._alarm.ask(at)
        return turn.now >= at

    def _give_to_idle(
        self,
        turn: Turn,
        view: View,
        job: JobState,
        task: TaskState,
        unit: Unit,
        work: Mapping[NodeId, Workload],
    ) -> None:
        """Take the unit from its holder and give it to an idle node, if there is one for it, in one
        go: nobody else gets it in between."""
        slot = task.slots[unit[2]]
        apart = {slot.holder} | self._answering(turn, view, job, unit)
        wrong = {answer.node for answer in task.refuted()}
        idle = [
            node
            for node, each in work.items()
            if each.at_hand < self.config.slots and node not in apart and node not in wrong
        ]
        agent = task.task.agent
        able = [
            node
            for node in idle
            if not self._failing.is_paused(turn.now, view, node, agent)
            and not self._failing.leaves(turn.now, view, job, task, node)
        ]
        if not able:
            return
        node = max(able, key=lambda node: claims.score(unit, node))
        work[node].ready += 1
        self._taken_back[unit] += 1
        self._wishes.fence(turn.now, unit, slot.token + 1)
        self._wishes.claim(turn.now, unit, node)

    # -- races ---------------------------------------------------------------------------------

    def _give_out_races(
        self, turn: Turn, view: View, job: JobState, load: dict[NodeId, int]
    ) -> None:
        """Let the idle race what takes long, once by each node."""
        for task, slot, unit in self._racing.overdue(turn.now, view, job):
            others = self._answering(turn, view, job, unit)
            idle = [
                node
                for node, work in load.items()
                if work < self.config.slots
                and not slot.has(node, slot.token)
                and not self._book.has_raced(unit, node, slot.token)
                and node not in others
                and not self._failing.is_paused(turn.now, view, node, task.task.agent)
                and not self._failing.leaves(turn.now, view, job, task, node)
            ]
            if idle and not self._wishes.has("clone", unit):
                node = max(idle, key=lambda node: claims.score(unit, node))
                load[node] += 1
                self._wishes.clone(turn.now, unit, node)

    def _end_races(self, turn: Turn, view: View, job: JobState) -> None:
        """Who has failed, or is away, does not keep another from racing, nor is it the heir."""
        for task, slot, unit in job.ready_units():
            for node in slot.racers if task.is_open and not slot.answer else ():
                has_ended = (
                    self._book.has_raced(unit, node, slot.token)
                    and self._book.races(unit)[node].claim.phase is Phase.RELEASED
                )
                if has_ended or node not in view.alive:
                    self._wishes.end_race(turn.now, unit, node, slot.token)

    def _races(self, jobs: Sequence[JobState]) -> Iterator[NodeId]:
        """Who races, once for each race; also those that are on their way into the log."""
        for job in jobs:
            for task in job.tasks.values():
                for slot in task.slots if task.is_open else ():
                    if not slot.answer:
                        yield from slot.racers
        for command in self._wishes.clones():
            yield command.node

    def _is_lost(self, turn: Turn, view: View, unit: Unit, slot: Slot) -> bool:
        """The holder failed, or began and was not heard of for a lease."""
        if slot.holder not in view.alive:
            return True
        held = self._book.get(unit)
        if held is None or (held.claim.node, held.claim.token) != (slot.holder, slot.token):
            return False
        return not self._racing.is_living(turn.now, view, held)

    def _enforce_budget(
        self, turn: Turn, job: JobState, spent_on: Callable[[JobState], Usage]
    ) -> None:
        """Give up what is open once all that was tried, with or without success, has used more than
        there is, as agents may that do not ask before, or its time is over."""
        budget = job.job.budget
        reason = self._deadlines.reason(job.job.id)
        if budget.is_metered:
            used = spent_on(job)
            amount = Amount(used.tokens_in + used.tokens_out, used.microusd)
            overrun = amount.minus(budget.whole).at_least(NOTHING)
            if overrun != NOTHING:
                reason = budget.used_up(overrun)
        for task in job.tasks.values() if reason else ():
            if task.is_open:
                self._wishes.abandon(turn.now, job, task, reason)
