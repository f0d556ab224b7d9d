"""Calls: what agents want to ask their models, until it may be asked.

    asked     the endpoint's pace (`pacing`) lets it through, and the job's budget (`spending`) has
              room for it: what it may use is reserved. Of a job with a budget one call at a time is
              under way here, so that an endpoint that charges more than was reserved can do so with
              one call of each node before that is known
    reserved  once that is on the disk, the agent may begin
    begun     until it is settled, or its agent ends

Invariant: every call is answered once, by `CallGranted` or `CallDenied`, unless its agent ends
before; and what was reserved for it is closed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from protocol.clocks import Nanoseconds
from protocol.effects import CallDenied, CallGranted
from protocol.events import CallAsked, CallSettled
from protocol.facts.work import ReservationExceeded
from protocol.jobs import NOTHING, Amount
from protocol.ledger import JobState
from protocol.team.deadlines import Deadlines
from protocol.team.pacing import Pacing
from protocol.team.spending import Reservation, Spending
from protocol.team.view import View
from protocol.turn import Turn

_Number = tuple[int, int]  # invocation, call


@dataclass(slots=True)
class _Call:
    asked: CallAsked
    job: str
    reservation: Reservation | None = None
    begun: bool = False


class Calls:
    """Those of one node's agents."""

    def __init__(self, spending: Spending, pacing: Pacing, deadlines: Deadlines) -> None:
        self._spending = spending
        self._pacing = pacing
        self._deadlines = deadlines
        self._calls: dict[_Number, _Call] = {}

    def ask(self, turn: Turn, job: str, event: CallAsked) -> None:
        """An agent wants to call its model: it hears when it may."""
        self._calls[event.invocation, event.call] = _Call(event, job)
        self._pacing.waits(turn, event.endpoint, event.rate)

    def settle(self, turn: Turn, event: CallSettled) -> None:
        """The call is over, and this is what it used."""
        number = (event.invocation, event.call)
        call = self._calls.get(number)
        if call is None:
            return
        self._end(number, event.used)
        reserved = call.reservation.amount if call.reservation else event.used
        more = event.used.minus(reserved).at_least(NOTHING)
        if more != NOTHING:
            told = (call.job, call.asked.endpoint, more.tokens, more.microusd)
            turn.report(ReservationExceeded(*told))

    def drop(self, invocation: int) -> None:
        """The agent has ended, however: what it began and did not settle counts as used."""
        for number in [number for number in self._calls if number[0] == invocation]:
            self._end(number, None)

    def _end(self, number: _Number, used: Amount | None) -> None:
        call = self._calls.pop(number)
        if not call.begun:
            used = NOTHING
            if call.reservation is None:
                self._pacing.leaves(call.asked.endpoint)
            else:
                self._pacing.spares(call.asked.endpoint)
        if call.reservation is not None:
            amount = call.reservation.amount
            self._spending.close(call.job, amount, amount if used is None else used)

    def decide(self, turn: Turn, view: View, jobs: Sequence[JobState]) -> None:
        """Let begin what may; and tell the others what is lacking here and what is not needed."""
        active = {job.job.id: job for job in jobs}
        for number, call in list(self._calls.items()):
            job = active.get(call.job)
            if call.begun:
                continue
            if job is None:
                self._deny(turn, number, "the job is finished")
            elif reason := self._deadlines.reason(call.job):
                self._deny(turn, number, reason)
            elif call.reservation is not None:
                if self._spending.has_written(call.job, call.reservation):
                    self._begin(turn, number, call, call.reservation.tokens_out)
            elif self._is_under_way(call.job):
                continue
            elif self._pacing.admits(turn.now, view, call.asked.endpoint):
                self._admit(turn, view, job, number, call)
        waiting = [call for call in self._calls.values() if call.reservation is None]
        for job in jobs:
            if job.job.budget.is_metered:
                lacking = [c.asked for c in waiting if c.job == job.job.id and not c.begun]
                self._spending.tell(turn, view, job, lacking)
        self._spending.close_books(turn, active)
        self._pacing.tell(turn)

    def _is_under_way(self, job: str) -> bool:
        """Whether a call has reserved something of the job's budget and is not over."""
        return any(call.reservation and call.job == job for call in self._calls.values())

    def _admit(self, turn: Turn, view: View, job: JobState, number: _Number, call: _Call) -> None:
        """Its endpoint can take it now."""
        if not job.job.budget.is_metered:
            self._pass(call, turn.now)
            self._begin(turn, number, call, 0)
            return
        found = self._spending.reserve(turn, view, job, call.asked)
        if isinstance(found, str):
            self._deny(turn, number, found)
        elif found is not None:
            call.reservation = found
            self._pass(call, turn.now)

    def _pass(self, call: _Call, now: Nanoseconds) -> None:
        """It is the endpoint's next call, though its reservation may have to become durable: or
        all that wait for that would begin at once."""
        self._pacing.leaves(call.asked.endpoint)
        self._pacing.begins(call.asked.endpoint, now)

    def _begin(self, turn: Turn, number: _Number, call: _Call, tokens_out: int) -> None:
        call.begun = True
        turn.answer_durable(CallGranted(*number, tokens_out))

    def _deny(self, turn: Turn, number: _Number, reason: str) -> None:
        self._end(number, NOTHING)
        turn.perform(CallDenied(*number, reason))
