"""The agents of one simulated node: they ask before they call their model, take a time, and end.

An agent makes one call, if it uses anything at all and somebody counts: its job has a budget, or
the model's endpoint has a limit. What the call uses is settled when the agent ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from protocol.clocks import MILLISECOND, Nanoseconds
from protocol.effects import Abort, Assignment, CallDenied, Invoke, Permit
from protocol.events import (
    AgentFailed,
    CallAsked,
    CallSettled,
    Completed,
    Failure,
    Progressed,
    RateLimited,
)
from protocol.jobs import NO_USAGE, NOTHING, Usage

if TYPE_CHECKING:
    from protocol.sim.host import Host

ENDPOINT = "model"


@dataclass(slots=True)
class _Errand:
    """An agent that was started; `used` is what it has used, `call` counts how often it asked."""

    assignment: Assignment
    delay: Nanoseconds
    end: Completed | AgentFailed
    used: Usage = NO_USAGE
    call: int = 0
    is_granted: bool = False


class Errands:
    """Those of one life of a host."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._errands: dict[int, _Errand] = {}

    def clear(self) -> None:
        """The process has ended, and all its agents with it."""
        self._errands.clear()

    def start(self, effect: Invoke) -> None:
        host, number = self._host, effect.invocation
        self._see_at_work(effect.assignment)
        delay, end = host.agents.perform(effect.assignment)
        errand = self._errands[number] = _Errand(effect.assignment, delay, end)
        if end.usage.calls and (effect.assignment.is_metered or host.agents.rate):
            self._ask(number)
        else:
            self._use(errand)
            self._begin(number, errand)

    def _ask(self, number: int) -> None:
        errand = self._errands.get(number)
        if errand is None:
            return
        errand.call += 1
        agents = self._host.agents
        tokens = agents.cost(errand.end.usage).tokens
        asked = CallAsked(
            number,
            errand.call,
            0,
            tokens,
            tokens,
            price_out=agents.price,
            endpoint=ENDPOINT,
            rate=agents.rate,
        )
        self._host.later(0, asked)

    def permit(self, effect: Permit) -> None:
        """A call may begin, or not: then its agent has no result."""
        host, number = self._host, effect.invocation
        errand = self._errands.get(number)
        if errand is None or effect.call != errand.call or errand.is_granted:
            return
        if isinstance(effect, CallDenied):
            errand.delay = 0
            errand.end = AgentFailed(0, Failure.BUDGET, effect.reason, (), NO_USAGE)
            self._begin(number, errand)
            return
        retry_after = host.agents.refuses(host.world.now)
        if retry_after:
            host.later(0, RateLimited(ENDPOINT, retry_after))
            host.later(0, CallSettled(number, errand.call, NOTHING))
            host.deed_after(retry_after, self._ask, number)
            return
        self._see_at_work(errand.assignment)
        errand.is_granted = True
        self._use(errand)
        self._begin(number, errand)

    def _use(self, errand: _Errand) -> None:
        errand.used = errand.end.usage
        for see in self._host.world.hooks.see_spent:
            see(self._host.world.now, self._host, errand.assignment, errand.used)

    def _see_at_work(self, assignment: Assignment) -> None:
        for see in self._host.world.hooks.see_at_work:
            see(self._host.world.now, self._host, assignment.job)

    def _begin(self, number: int, errand: _Errand) -> None:
        end = errand.end
        if isinstance(end, Completed) and end.files:  # the first file is there half-way
            self._host.later(errand.delay // 2, Progressed(number, end.files[:1]))
        self._host.deed_after(errand.delay, self._ended, (number, errand))

    def abort(self, effect: Abort) -> None:
        """It is stopped; what it has asked others for is not taken back."""
        errand = self._errands.pop(effect.invocation, None)
        if errand is not None:
            end = AgentFailed(effect.invocation, Failure.ABORTED, effect.reason, (), errand.used)
            self._host.later(MILLISECOND, end)

    def _ended(self, ended: tuple[int, _Errand]) -> None:
        number, errand = ended
        if self._errands.get(number) is not errand:
            return  # it was aborted before
        del self._errands[number]
        self._see_at_work(errand.assignment)
        if errand.is_granted:
            used = self._host.agents.cost(errand.used)
            self._host.take(CallSettled(number, errand.call, used))
            if self._host.peer is None:
                return  # it has crashed in that step, and its agents with it
        match errand.end:
            case Completed(files=files, text=text, usage=usage):
                self._host.take(Completed(number, files, text, usage))
            case AgentFailed(reason=reason, detail=detail, files=files, usage=usage):
                self._host.take(AgentFailed(number, reason, detail, files, usage))
