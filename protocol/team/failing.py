"""Who fails, and what follows from it: one bad node does not fail a job, and neither does an
endpoint that is away for a while.

A node that failed a task leaves it to those who have failed it less often, for a time that doubles:
they may be busy, or no better. A node that failed several times in a row, whatever the tasks, takes
no further work for a moment, which doubles as well, until it succeeds. That leaves the attempts of
a job to those who do better: where all who could take a task fail in a row, the cause is not one
node, and nobody pauses; nor does who is the only one left that could.

An attempt that did not reach the endpoint of its model says nothing about its task and does not
count. Its node waits before it asks there again. There are two bounds: an outage that lasts too
long counts, and so does the first attempt at a task in each outage after the task's first one, for
it may be the task that its endpoint cannot bear.

A node that has not got a task's program, or that of its check, or no model that it may ask, leaves
the task to the others for good, which costs no attempt; once that is so for each living node, the
task is given up.

All of it follows from FAIL notes and results, so that whoever gives work out (see `leading`) knows
of the others what each knows of itself, but for what was on its way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from protocol.claims import ClaimBook, FailNote, Phase
from protocol.clocks import SECOND, Alarm, Nanoseconds
from protocol.config import TeamConfig
from protocol.events import Failure
from protocol.identity import NodeId
from protocol.jobs import ClaimMode
from protocol.ledger import JobState, Ledger, Slot, TaskState, Unit
from protocol.team.deaths import Deaths
from protocol.team.notes import LACKING, Noted, Notes
from protocol.team.view import View

UNABLE_AFTER = 2  # failures of a task, by one node
DOUBLINGS_MAX = 16  # of a time that has a bound of its own
_BLAMELESS = frozenset(
    (
        *(Failure.ABORTED, Failure.BUDGET, Failure.UNKNOWN_TASK),
        *(Failure.NO_PROGRAM, Failure.NO_CHECK),
    )
)
# After these the endpoint is known to be there.
_REACHED = frozenset(
    (
        *(Failure.OUTPUT, Failure.EMPTY, Failure.REFUSED, Failure.TRUNCATED, Failure.OVERFLOW),
        *(Failure.VERIFY, Failure.UNKNOWN_TASK),
    )
)

GIVEN_BACK_NS = SECOND  # after the log has taken a task from a node, its note is here

K = TypeVar("K")


@dataclass(slots=True)
class _Trouble:
    """Failures in a row: when the first and the last came, and how many there were."""

    since: Nanoseconds
    last_at: Nanoseconds
    times: int = 0


@dataclass(frozen=True, slots=True)
class _GivenBack:
    """The log has taken a unit from its holder, which is or was about to say why."""

    node: NodeId
    token: int
    at: Nanoseconds


class Failing:
    """What one node knows of failures, its own and the others'."""

    def __init__(
        self,
        node: NodeId,
        config: TeamConfig,
        ledger: Ledger,
        book: ClaimBook,
        notes: Notes,
        deaths: Deaths,
        alarm: Alarm,
    ) -> None:
        self.node = node
        self.config = config
        self._ledger = ledger
        self._book = book
        self._notes = notes
        self._deaths = deaths
        self._alarm = alarm
        self._streaks: dict[NodeId, _Trouble] = {}
        self._outages: dict[tuple[NodeId, str], _Trouble] = {}  # by node and kind of agent
        self._reached: set[str] = set()  # kinds of agents whose endpoint has answered this node
        self._struck: dict[tuple[str, str], Nanoseconds] = {}  # tasks: since when the outage was
        self._holders: dict[Unit, tuple[NodeId, int]] = {}  # by the log, with the token
        self._given_back: dict[Unit, _GivenBack] = {}

    def forget(self, job: str) -> None:
        """Drop what is known of a finished job."""
        for task in [task for task in self._struck if task[0] == job]:
            del self._struck[task]
        for units in (self._holders, self._given_back):
            for unit in [unit for unit in units if unit[0] == job]:
                del units[unit]

    # -- what is heard -------------------------------------------------------------------------

    def failed(self, now: Nanoseconds, job: str, task: str, reason: Failure) -> Failure:
        """An attempt of this node's has failed: as what that is to be noted."""
        agent = self._agent_of(job, task)
        if reason is not Failure.UNREACHABLE:
            self._count(now, self.node, agent, reason)
            return reason
        outage = self._one_more(self._outages, (self.node, agent), now)
        earlier = self._struck.get((job, task), outage.since)
        self._struck[job, task] = outage.since
        if earlier != outage.since:
            return Failure.BACKEND
        lasted = now - outage.since
        bound = self.config.outage_max_ns
        if lasted > self.config.never_reached_max_ns and not self._was_reached(agent):
            bound = self.config.never_reached_max_ns
        return Failure.AWAY if lasted > bound else Failure.UNREACHABLE

    def succeeded(self, job: str, task: str, node: NodeId) -> None:
        """An attempt of this node has a result."""
        agent = self._agent_of(job, task)
        in_a_row = self.config.failures_in_a_row
        streak = self._streaks.pop(node, None)
        if streak and streak.times >= in_a_row:
            # It was no worse than the others: while all fail nobody pauses, and what they failed
            # meanwhile tells little of them. They are given a short pause first.
            for other in self._streaks.values():
                other.times = min(other.times, in_a_row)
        self._outages.pop((node, agent), None)
        if node == self.node:
            self._reached.add(agent)

    def heard(self, now: Nanoseconds, job: str, task: str, note: FailNote) -> None:
        """Another node has told of a failure of its own."""
        try:
            reason = Failure(note.reason)
        except ValueError:
            return  # of a judge or a merge, or of a later version
        agent = self._agent_of(job, task)
        if reason in (Failure.UNREACHABLE, Failure.AWAY):
            self._one_more(self._outages, (note.node, agent), now)
        else:
            self._count(now, note.node, agent, reason)

    def was_given(self, unit: Unit, node: NodeId, token: int) -> None:
        """The log gives the unit to a node."""
        self._holders[unit] = (node, token)

    def was_taken(self, now: Nanoseconds, unit: Unit) -> None:
        """The log takes the unit from its holder. Mostly that has failed, and its note, which goes
        by gossip, may be slower than the log."""
        if unit in self._holders:
            self._given_back[unit] = _GivenBack(*self._holders.pop(unit), now)

    def _count(self, now: Nanoseconds, node: NodeId, agent: str, reason: Failure) -> None:
        if reason not in _BLAMELESS:
            self._one_more(self._streaks, node, now)
        if reason in _REACHED:
            self._outages.pop((node, agent), None)
            if node == self.node:
                self._reached.add(agent)

    def _one_more(self, troubles: dict[K, _Trouble], whose: K, now: Nanoseconds) -> _Trouble:
        """The trouble with one more failure. What was long ago tells nothing any more."""
        for old in [old for old, each in troubles.items() if self._is_old(each, now)]:
            del troubles[old]
        trouble = troubles.setdefault(whose, _Trouble(now, now))
        trouble.last_at = now
        trouble.times += 1
        return trouble

    def _is_old(self, trouble: _Trouble, now: Nanoseconds) -> bool:
        return now - trouble.last_at > self.config.outage_max_ns

    def _agent_of(self, job: str, task: str) -> str:
        found = self._ledger.slot(job, task, 0)
        return found[1].task.agent if found else ""

    def _was_reached(self, agent: str) -> bool:
        """Whether this node, or another one, has ever had an answer from such an endpoint."""
        return agent in self._reached or any(
            state.answers and state.task.agent == agent
            for job in self._ledger.jobs.values()
            for state in job.tasks.values()
        )

    # -- what follows --------------------------------------------------------------------------

    def forbids(self, now: Nanoseconds, view: View, job: JobState, task: TaskState) -> bool:
        """Whether this node does not take the task now."""
        return (
            self.keeps_off(now, view, job, task, self.node)
            or self.leaves(now, view, job, task, self.node)
            or self.is_used_up(job, task)
            or self._deaths.are_enough(view, job, task)
        )

    def is_paused(self, now: Nanoseconds, view: View, node: NodeId, agent: str) -> bool:
        """Whether a node takes no further work for an agent of this kind, for now."""
        return self._waits(now, node, agent) or (
            self._fails(now, node) and not self._all_fail(now, view.alive)
        )

    def keeps_off(
        self, now: Nanoseconds, view: View, job: JobState, task: TaskState, node: NodeId
    ) -> bool:
        """Whether a node that is paused does not take a task that nobody holds: it does where
        nobody else could, but for who fails in a row as well."""
        if self._waits(now, node, task.task.agent):
            return True
        if not self._fails(now, node):
            return False
        unfit = {answer.node for answer in task.refuted()} | self.lacking(job, task)
        return not self._all_fail(now, view.alive - unfit - {node})

    def _waits(self, now: Nanoseconds, node: NodeId, agent: str) -> bool:
        return self._is_before(now, self._pause_end(self._outages.get((node, agent)), 1))

    def _fails(self, now: Nanoseconds, node: NodeId) -> bool:
        streak = self._streaks.get(node)
        return self._is_before(now, self._pause_end(streak, self.config.failures_in_a_row))

    def _all_fail(self, now: Nanoseconds, nodes: Collection[NodeId]) -> bool:
        return all(self._fails_in_a_row(now, node) for node in nodes)

    def _fails_in_a_row(self, now: Nanoseconds, node: NodeId) -> bool:
        streak = self._streaks.get(node)
        if streak is None or self._is_old(streak, now):
            return False
        return streak.times >= self.config.failures_in_a_row

    def leaves(
        self, now: Nanoseconds, view: View, job: JobState, task: TaskState, node: NodeId
    ) -> bool:
        """Whether a node leaves the task to others, for now. Those who work on another slot of it,
        or have given an answer, are not meant."""
        noted = self._notes.failures(job.job.id, task.task.id)
        unsaid_until = self._unsaid_until(job, task, noted, node)
        if not noted and not unsaid_until:
            return False  # so it is of nearly all tasks, and each decision asks of many
        lacking = self.lacking(job, task)
        if node in lacking:
            return True
        times = Counter(each.note.node for each in noted)
        times[node] += now < unsaid_until
        if not times[node]:
            return False
        others = view.alive - {answer.node for answer in task.refuted()} - {node}
        others -= self._at_it(job, task) | lacking
        if all(times[other] >= times[node] for other in others):
            return False
        own = [each for each in noted if each.note.node == node]
        counted = sum(each.note.reason != Failure.UNREACHABLE.value for each in own)
        config = self.config
        patience = config.leave_failed_ns << min(max(counted - 1, 0), DOUBLINGS_MAX)
        patience = min(patience, config.leave_failed_max_ns)
        last_at = max((each.heard_at for each in own), default=-patience)
        return self._is_before(now, max(last_at + patience, unsaid_until))

    def _unsaid_until(
        self, job: JobState, task: TaskState, noted: Sequence[Noted], node: NodeId
    ) -> Nanoseconds:
        """Until when a note of the node about this task is waited for; 0 if none is."""
        until = 0
        for number in range(len(task.slots)):
            back = self._given_back.get((job.job.id, task.task.id, number))
            if back is None or back.node != node:
                continue
            attempt = (node, number, back.token)
            if all((n.note.node, n.note.slot, n.note.token) != attempt for n in noted):
                until = max(until, back.at + GIVEN_BACK_NS)
        return until

    def able(
        self, now: Nanoseconds, view: View, job: JobState, task: TaskState
    ) -> frozenset[NodeId]:
        """From whom an answer may be expected: who is there, lacks nothing for it, has not been
        found wrong, and has not failed the task again and again, or, beside others who do better,
        whatever it did."""
        times = Counter(note.node for note in self._notes.of(job.job.id, task.task.id))
        unable = {node for node, failures in times.items() if failures >= UNABLE_AFTER}
        failing = {node for node in view.alive if self._fails_in_a_row(now, node)}
        if failing < view.alive:
            unable |= failing
        unable |= self.lacking(job, task)
        return view.alive - unable - {answer.node for answer in task.refuted()}

    def lacking(self, job: JobState, task: TaskState) -> set[NodeId]:
        """Who has not got the task's program, its check's or its model."""
        notes = self._notes.of(job.job.id, task.task.id)
        return {note.node for note in notes if note.reason in LACKING}

    def ready_units(self, job: JobState) -> Sequence[tuple[TaskState, Slot, Unit]]:
        """What is ready, in its usual order; but where an endpoint is away, first what it has not
        been asked for, in case one task is the cause."""
        ready = job.ready_units()
        if not self._outages:
            return ready
        return sorted(ready, key=lambda found: self.times_struck(job.job.id, found[0]))

    def times_struck(self, job: str, task: TaskState) -> int:
        """How many attempts at a task did not reach their endpoint, if one is away now."""
        if not self._outages:
            return 0
        notes = self._notes.of(job, task.task.id)
        return sum(note.reason == Failure.UNREACHABLE.value for note in notes)

    def in_vain(self, view: View, job: JobState) -> Iterator[tuple[TaskState, str]]:
        """The tasks of the job that nobody shall try any more, and why."""
        for name in self._notes.tasks_of(job.job.id):
            task = job.tasks.get(name)
            if task is None or not task.is_open:
                continue
            if self.is_used_up(job, task):
                yield task, self.account_of(job, task)
            elif self._deaths.are_enough(view, job, task):
                yield task, self._deaths.account_of(job, task)
            elif missing := self._nobody_can_run(view, job, task):
                yield task, missing
            elif away := self._nobody_reaches(view, job, task):
                yield task, away

    def account_of(self, job: JobState, task: TaskState) -> str:
        """How often the task was tried, and what came of it."""
        counted = self._notes.counted(job.job.id, task.task.id)
        last = counted[-1]
        tried = f"{len(counted)} attempt{'s' * (len(counted) != 1)} failed"
        return f"{tried}, the last with {last.reason}: {last.detail}"

    def is_used_up(self, job: JobState, task: TaskState) -> bool:
        """Whether the task was tried, by all nodes together, as often as it may be."""
        counted = self._notes.counted(job.job.id, task.task.id)
        return len(counted) >= task.task.attempts_max * len(task.slots)

    def _nobody_can_run(self, view: View, job: JobState, task: TaskState) -> str:
        """Why, if no living node can run the task at all."""
        notes = self._notes.of(job.job.id, task.task.id)
        lacking = {n.node: n.detail for n in notes if n.reason in LACKING}
        if not view.alive <= lacking.keys():
            return ""
        details = dict.fromkeys(lacking[node] for node in sorted(view.alive))
        return f"no node can run it: {'; '.join(details)}"

    def _nobody_reaches(self, view: View, job: JobState, task: TaskState) -> str:
        """Why, if each living node has waited for its endpoint for as long as nodes do."""
        last = {
            each.note.node: each.note for each in self._notes.failures(job.job.id, task.task.id)
        }
        notes = [last.get(node) for node in sorted(view.alive)]
        if not all(note and note.reason == Failure.AWAY.value for note in notes):
            return ""
        details = dict.fromkeys(note.detail for note in notes if note)
        return f"the endpoint of the model is away: {'; '.join(details)}"

    def _at_it(self, job: JobState, task: TaskState) -> set[NodeId]:
        """Who works on a slot of the task or has answered, as far as is known here."""
        at_it = {answer.node for answer in task.answers}
        for number, slot in enumerate(task.slots):
            if job.job.claims is not ClaimMode.LEASE:
                at_it.add(slot.holder)
                continue
            held = self._book.get((job.job.id, task.task.id, number))
            if held and held.claim.phase is not Phase.RELEASED:
                at_it.add(held.claim.node)
        return at_it

    def _pause_end(self, trouble: _Trouble | None, after: int) -> Nanoseconds:
        """Until when to wait, if there were so many failures; 0 if there were not."""
        if trouble is None or trouble.times < after:
            return 0
        doublings = min(trouble.times - after, DOUBLINGS_MAX)
        pause = min(self.config.pause_first_ns << doublings, self.config.pause_max_ns)
        return trouble.last_at + pause

    def _is_before(self, now: Nanoseconds, end: Nanoseconds) -> bool:
        if now >= end:
            return False
        self._alarm.ask(end)
        return True
