"""Taking tasks: one machine, in the four ways of giving work out.

    LEASE     claim in the store, start at once; a collision is resolved by `claims`
    RAFT      propose the claim, start when the ledger names us
    ASSIGNED  the ledger names us before the start; the leader moves what a lost node held
    LEADER    the leader names an idle node for a ready task

Invariant: a task is started only when everything it needs is accepted, in each of the four.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from protocol.claims import ClaimBook, Phase
from protocol.facts.work import LeaseExpired
from protocol.identity import NodeId
from protocol.jobs import ClaimMode
from protocol.ledger import JobState, Ledger, Unit
from protocol.team.attempts import Attempts
from protocol.team.choice import Choice, Chosen
from protocol.team.deaths import Deaths
from protocol.team.scene import PEOPLE_MAX, Hands
from protocol.team.view import View
from protocol.team.wishes import Wishes
from protocol.turn import Turn


class Taking:
    """What one node with room takes next."""

    def __init__(
        self,
        node: NodeId,
        ledger: Ledger,
        book: ClaimBook,
        deaths: Deaths,
        attempts: Attempts,
        choice: Choice,
        asking: Choice,
        wishes: Wishes,
    ) -> None:
        self.node = node
        self._ledger = ledger
        self._book = book
        self._deaths = deaths
        self._attempts = attempts
        self._choice = choice
        self._asking = asking
        self._wishes = wishes

    def take(self, turn: Turn, view: View, job: JobState, jobs: Sequence[JobState]) -> None:
        """Take what this node has room for of one job, of those that go on."""
        if job.job.claims is ClaimMode.LEASE:
            self._claim_by_lease(turn, view, job, jobs)
        else:
            self._start_granted(turn, view, job)
            if job.job.claims is ClaimMode.RAFT:
                self._claim_by_log(turn, view, job, jobs)

    def _claim_by_lease(
        self, turn: Turn, view: View, job: JobState, jobs: Sequence[JobState]
    ) -> None:
        """Claim in the store and start at once."""
        while job.asks_people:
            own = self._attempts.units()
            chosen = self._asking.choose(turn.now, view, job, own, Hands.FREE)
            if chosen is None:
                break
            self._begin(turn, job, chosen)
        # Without a leader nothing comes of what was asked of the log, and this is what can be done.
        spoken_for = self._spoken_for(jobs) if view.leader else set()
        while self._attempts.has_room(len(spoken_for.union(self._attempts.held()))):
            own, hands = self._attempts.units(), self._hands(self._attempts.held())
            chosen = self._choice.choose(turn.now, view, job, own, hands)
            if chosen is None:
                break
            if not self._attempts.has_free_slot():
                self._attempts.make_room(turn)
                return
            self._begin(turn, job, chosen)
        while self._attempts.has_free_slot():
            own, hands = self._attempts.units(), self._hands(self._attempts.held())
            raced = self._choice.choose_race(turn.now, view, job, own, hands)
            if raced is None:
                return
            held = self._book.get(raced)
            assert held is not None, "what is raced has a holder"
            self._attempts.start(turn, raced, held.claim.token, races=True)

    def _begin(self, turn: Turn, job: JobState, chosen: Chosen) -> None:
        """Start what was chosen, under a token above all earlier ones."""
        unit = chosen.unit
        held = self._book.get(unit)
        found = self._ledger.slot(*unit)
        fence = found[2].fence if found else 0
        token = max(held.claim.token + 1 if held else 1, fence)
        token = max(token, self._attempts.last_token(unit) + 1)
        while found and found[1].knows((unit[2], self.node, token)):
            token += 1  # from an earlier life, whose claim nobody was told of
        if held and held.claim.phase is not Phase.RELEASED:
            if held.claim.node != self.node:
                turn.report(LeaseExpired(*unit, held.claim.node, held.claim.token))
            # The old holder may still be at work somewhere.
            self._wishes.fence(turn.now, unit, token)
        self._deaths.tell_of(turn, unit[:2])
        quietly = chosen.undisputed and held is None and not self._deaths.is_wary(job.job.id)
        self._attempts.start(turn, unit, token, quietly=quietly)

    def _hands(self, taken: Collection[Unit]) -> Hands:
        if taken:
            return Hands.AT_WORK
        return Hands.RACING if self._attempts.slots_taken else Hands.FREE

    def _claim_by_log(
        self, turn: Turn, view: View, job: JobState, jobs: Sequence[JobState]
    ) -> None:
        """Propose claims; the ledger will say who got what."""
        own = self._attempts.units()
        taken = self._spoken_for(jobs).union(self._attempts.held())
        asked = self._attempts.asked() | self._proposed(questions=True)
        while job.asks_people:
            chosen = self._asking.choose(turn.now, view, job, own | asked, Hands.FREE)
            if chosen is None:
                break
            self._wishes.claim(turn.now, chosen.unit, self.node)
            asked.add(chosen.unit)
        while self._attempts.has_room(len(taken)):
            chosen = self._choice.choose(turn.now, view, job, own | taken, self._hands(taken))
            if chosen is None:
                break
            self._wishes.claim(turn.now, chosen.unit, self.node)
            taken.add(chosen.unit)
        if self._attempts.has_room(len(taken | own - self._attempts.asked())):
            hands = self._hands(taken)
            raced = self._choice.choose_race(turn.now, view, job, own | taken, hands)
            if raced is not None:
                self._wishes.clone(turn.now, raced, self.node)

    def _spoken_for(self, jobs: Sequence[JobState]) -> set[Unit]:
        """What will take this node's slots, as the log says or is about to; it may have begun."""
        found = self._proposed(questions=False)
        for job in jobs:
            if job.job.claims is ClaimMode.LEASE:
                continue  # the log gives nothing out
            for unit in job.units_of(self.node) - self._attempts.handed_in.keys():
                task = job.tasks[unit[1]]
                if job.is_ready(task) and not task.task.asks_person:
                    found.add(unit)
        return found

    def _proposed(self, *, questions: bool) -> set[Unit]:
        """What this node has asked the log for; of questions to people, or of work."""
        found = set()
        for claim in self._wishes.claims():
            unit = (claim.job, claim.task, claim.slot)
            known = self._ledger.slot(*unit) if claim.node == self.node else None
            if known is not None and known[1].task.asks_person == questions:
                found.add(unit)
        return found

    def _start_granted(self, turn: Turn, view: View, job: JobState) -> None:
        """Start what the ledger has given to this node, longest chain first."""
        own = self._attempts.units()
        for task, slot, unit in job.ready_units():
            if slot.answer or unit in own or not slot.has(self.node, slot.token):
                continue
            if self._wishes.has("abandon", unit[:2]) or self._wishes.has("fence", unit):
                continue  # it was given back, or up, and that is on its way
            races = slot.holder != self.node
            held = self._book.races(unit).get(self.node) if races else self._book.get(unit)
            if held and (held.claim.node, held.claim.token) == (self.node, slot.token):
                # Begun before a crash: begin again under a new token.
                self._deaths.claimed(unit, held)
                if not races and not self._deaths.are_enough(view, job, task):
                    self._wishes.fence(turn.now, unit, slot.token + 1)
            elif task.task.asks_person:
                asked = [each for each in self._attempts.asked() if each[0] == unit[0]]
                if len(asked) < PEOPLE_MAX:
                    self._attempts.start(turn, unit, slot.token, races)
            elif self._attempts.has_free_slot():
                self._attempts.start(turn, unit, slot.token, races)
            elif not races and self._attempts.has_room(len(self._attempts.held())):
                self._attempts.make_room(turn)
