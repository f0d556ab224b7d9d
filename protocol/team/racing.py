"""Racing: idle nodes work on what takes long as well, and the first verified result wins.

Backup tasks (Dean and Ghemawat 2004, MapReduce, section 3.6), bounded: only tasks of the critical
path are raced, since only they make the job end sooner, and no questions to people; only once they
have taken longer than is usual; by so many clones at most. A racer works under the holder's token,
so that either result can be accepted, and only one is. Where the holder is lost or gives up, the
foremost racer takes its place and nothing is begun anew.

In LEASE mode races are claims in the store, elsewhere they are in the ledger.
"""

from __future__ import annotations

from collections.abc import Sequence

from protocol import claims
from protocol.claims import ClaimBook, Held, Phase
from protocol.clocks import SECOND, Alarm, Nanoseconds
from protocol.config import TeamConfig
from protocol.identity import NodeId
from protocol.jobs import ClaimMode
from protocol.ledger import JobState, Ledger, Slot, TaskState, Unit
from protocol.team.view import View


class Racing:
    """What may be raced, and by whom it is, as far as one node knows."""

    def __init__(self, config: TeamConfig, ledger: Ledger, book: ClaimBook, alarm: Alarm) -> None:
        self.config = config
        self._ledger = ledger
        self._book = book
        self._alarm = alarm

    def overdue(
        self, now: Nanoseconds, view: View, job: JobState
    ) -> list[tuple[TaskState, Slot, Unit]]:
        """The units to race now: on the critical path, begun, overdue, and not raced enough; first
        the one that was begun last, for it has the longest way to go."""
        may_race = job.job.speculation.clones and not job.is_short_of_budget()
        ready = job.ready_units() if may_race else []
        longest = max((job.levels[task.task.id] for task, _, _ in ready), default=0.0)
        found: list[tuple[Nanoseconds, tuple[TaskState, Slot, Unit]]] = []
        for task, slot, unit in ready:
            if job.levels[task.task.id] < longest:
                break
            if task.task.asks_person:
                continue  # it would be asked twice
            begun = self._begun(now, view, job, slot, unit)
            if slot.answer or begun is None or not self._is_overdue(now, job, task, begun):
                continue
            if len(self.racers(now, view, unit)) < job.job.speculation.clones:
                found.append((begun.since, (task, slot, unit)))
        return [race for _, race in sorted(found, key=lambda each: -each[0])]

    def racers_of(self, view: View, unit: Unit, now: Nanoseconds) -> Sequence[NodeId]:
        """Who races the unit's holder, the foremost first. Of those in the store, who is alive."""
        found = self._ledger.slot(*unit)
        if found is None or not found[1].is_open or found[2].answer:
            return ()
        job, _, slot = found
        if job.job.claims is not ClaimMode.LEASE:
            return slot.racers
        held = self._book.get(unit)
        token = held.claim.token if held else 0
        racing = [
            node
            for node, race in self._book.races(unit).items()
            if race.claim.token == token
            and race.claim.phase is not Phase.RELEASED
            and self._is_heard(view, race, now)
        ]
        return sorted(racing, key=lambda node: claims.score(unit, node), reverse=True)

    def racers(self, now: Nanoseconds, view: View, unit: Unit) -> Sequence[NodeId]:
        """The same, for a decision: it is looked at again when a lease ends."""
        found = self.racers_of(view, unit, now)
        races = self._book.races(unit)
        for node in found:
            if node in races and self._is_heard(view, races[node], now):
                self._alarm.ask(self._lease_end(races[node]))
        return found

    def is_living(self, now: Nanoseconds, view: View, held: Held) -> bool:
        """Whether whoever claims it was heard of within a lease, and has not failed or left; for a
        decision, as above."""
        is_heard = self._is_heard(view, held, now)
        if is_heard:
            self._alarm.ask(self._lease_end(held))
        return is_heard

    def _is_heard(self, view: View, held: Held, now: Nanoseconds) -> bool:
        return held.claim.node not in view.gone and now < self._lease_end(held)

    def _lease_end(self, held: Held) -> Nanoseconds:
        return held.heard_at + self.config.lease_ns

    def _begun(
        self, now: Nanoseconds, view: View, job: JobState, slot: Slot, unit: Unit
    ) -> Held | None:
        """The claim of a living holder that is at work."""
        held = self._book.get(unit)
        if held is None or held.claim.phase is not Phase.WORKING:
            return None
        if slot.proposes(held.claim.node, held.claim.token):
            return None
        by_log = job.job.claims is not ClaimMode.LEASE
        if by_log and not (held.claim.node == slot.holder and held.claim.token == slot.token):
            return None
        return held if self.is_living(now, view, held) else None

    def _is_overdue(self, now: Nanoseconds, job: JobState, task: TaskState, begun: Held) -> bool:
        speculation = job.job.speculation
        after: Nanoseconds | None = 0  # percentile 0: at once
        if speculation.percentile:
            weight = task.task.weight
            after = self._book.expected(job.job.id, weight, speculation.percentile)
        if after is None:
            return False  # what is usual is not known yet
        at = begun.since + max(after, int(speculation.after_s * SECOND))
        if now < at:
            self._alarm.ask(at)
            return False
        return True
