"""Permits: before an agent calls its model, it asks its node's peer, which keeps the pace that the
endpoint allows to the whole team, and reserves what the call may use out of the job's budget.

Invariant: a call that was granted is settled once, whatever becomes of it; what it used is at most
what was granted unless the endpoint disregards the limit that it was given, or counts more than was
estimated (see `estimate`): that is charged all the same. Waiting for leave is not the agent's time:
its deadline stands still meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

from node.agents import AgentError
from protocol.clocks import SECOND
from protocol.effects import CallDenied, CallGranted
from protocol.events import CallAsked, CallSettled, Event, Failure, RateLimited
from protocol.jobs import NOTHING, TIMEOUT_MAX_S, Amount

LEAVE_MAX_S = TIMEOUT_MAX_S  # a wait for leave is over then, as any task is


@dataclass(frozen=True, slots=True)
class Prices:
    """Millionths of a dollar for a million tokens."""

    read: int = 0
    written: int = 0

    def cost(self, tokens_in: int, tokens_out: int) -> int:
        """Of so many tokens read and written, in millionths of a dollar."""
        return -(-(tokens_in * self.read + tokens_out * self.written) // 1_000_000)


NO_PRICES = Prices()


class Permit:
    """A call that may begin. `tokens_out` is how long its answer may be; 0: as long as it likes."""

    def __init__(
        self,
        settle: Callable[[Amount], None] | None = None,
        asked: CallAsked | None = None,
        tokens_out: int = 0,
    ) -> None:
        self.tokens_out = tokens_out
        self._asked = asked
        self._settle = settle

    def settle(self, tokens_in: int | None = None, tokens_out: int = 0) -> None:
        """What the call used. Without `tokens_in` nobody has told, and it may be all that was
        reserved: a bill that comes later must not exceed the budget. A second time is nothing."""
        settle, self._settle = self._settle, None
        if settle is None or self._asked is None:
            return
        if tokens_in is None:
            settle(self._asked.cost(self.tokens_out))
        else:
            settle(replace(self._asked, tokens_in=tokens_in).cost(tokens_out))


FREE = Permit()


class Permits:
    """The calls of one node's agents that wait."""

    def __init__(self, deliver: Callable[[Event], None]) -> None:
        self._deliver = deliver
        self._waiting: dict[tuple[int, int], asyncio.Future[int]] = {}

    async def ask(self, asked: CallAsked) -> Permit:
        """Wait until the call may begin; AgentError if it may not."""
        number = (asked.invocation, asked.call)
        granted: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting[number] = granted
        try:
            self._deliver(asked)
            tokens_out = await granted
        except asyncio.CancelledError:
            # It may have been granted meanwhile, but nothing was sent. The agent's end comes later.
            self._deliver(CallSettled(*number, NOTHING))
            raise
        finally:
            del self._waiting[number]
        return Permit(lambda used: self._deliver(CallSettled(*number, used)), asked, tokens_out)

    def refused(self, endpoint: Endpoint, retry_after_s: float) -> None:
        """Let the team know that an endpoint wants fewer calls."""
        self._deliver(RateLimited(endpoint.name, int(retry_after_s * SECOND)))

    def answer(self, answer: CallGranted | CallDenied) -> None:
        """What the peer says to a call; nothing if nobody waits for it any more."""
        granted = self._waiting.get((answer.invocation, answer.call))
        if granted is None or granted.done():
            return
        if isinstance(answer, CallGranted):
            granted.set_result(answer.tokens_out)
        else:
            granted.set_exception(AgentError(Failure.BUDGET, answer.reason))


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where calls go: a name for it that all nodes have in common, and how many it takes in 1,000 s
    (0: nobody has said)."""

    name: str
    rate: int = 0


class Meter:
    """The calls of one invocation, numbered, one at a time. `counts`: its job has a budget, and
    `limits_money`: one of money; `deadline` is when the invocation must be done."""

    def __init__(
        self, permits: Permits, invocation: int, counts: bool, limits_money: bool = False
    ) -> None:
        self.counts = counts
        self.limits_money = limits_money
        self.deadline: asyncio.Timeout | None = None
        self._permits = permits
        self._invocation = invocation
        self._call = 0

    async def ask(
        self,
        endpoint: Endpoint,
        tokens_in: int = 0,
        tokens_out_min: int = 0,
        tokens_out_max: int = 0,
        prices: Prices = NO_PRICES,
    ) -> Permit:
        """The permit for a call that sends `tokens_in` tokens at most."""
        self._call += 1
        asked = CallAsked(
            self._invocation,
            self._call,
            tokens_in,
            tokens_out_min,
            tokens_out_max,
            prices.read,
            prices.written,
            endpoint.name,
            endpoint.rate,
        )
        async with _standing_still(self.deadline):
            return await self._permits.ask(asked)

    def refused(self, endpoint: Endpoint, retry_after_s: float) -> None:
        """The endpoint has had too many calls (429)."""
        self._permits.refused(endpoint, retry_after_s)


@contextlib.asynccontextmanager
async def _standing_still(deadline: asyncio.Timeout | None) -> AsyncIterator[None]:
    """Put a deadline out by the time that this takes, which is LEAVE_MAX_S at most."""
    ends_at = None if deadline is None else deadline.when()
    if deadline is None or ends_at is None:
        yield
        return
    now = asyncio.get_running_loop().time
    began_at = now()
    deadline.reschedule(began_at + LEAVE_MAX_S)
    try:
        yield
    finally:
        if not deadline.expired():
            deadline.reschedule(ends_at + now() - began_at)
