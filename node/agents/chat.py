"""One question to an OpenAI-compatible endpoint, repeated within bounds until it is answered.

Invariant: `ask` ends with a whole `Reply` or raises; it sends at most `tries_max` requests, one
more for each parameter that the endpoint turns out not to know, and one more that asks for a
shorter answer, where there was no room for a long one. Each is counted in the usage, answered or
not.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence

from node.agents import AgentError, Progress
from node.agents.completion import Asked, Completions
from node.agents.count import Count
from node.agents.estimate import Estimate, size_of
from node.agents.overflow import Overflow
from node.agents.permits import FREE, NO_PRICES, Endpoint, Meter, Permit, Prices
from node.agents.prices import prices_of, why_no_price
from node.agents.rejection import Ability, Retryable, Unable
from node.agents.reply import Reply
from node.agents.retry import RETRY_MAX_S, wait_s
from node.agents.scratch import in_thread
from node.agents.settings import OPENAI_URL, AgentSettings
from node.model.latency import READ_MAX
from node.prompt.shown import Message, shorten
from protocol.errors import InvalidJob
from protocol.events import Failure
from protocol.jobs import Usage

log = logging.getLogger(__name__)

ANSWER_MIN = 256  # tokens: with less room for an answer it is not worth asking
MODEL_LENGTH_MAX = 100  # characters of a model's name that are kept
UNREACHABLE_TRIES_MAX = 4  # requests to where nobody listens: 3.5 s of back-off at most


class ChatEndpoint:
    """An endpoint with its model, and what has been found out about it in this process."""

    def __init__(
        self,
        settings: AgentSettings,
        *,
        simulated: bool = False,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        randomness: random.Random | None = None,
    ) -> None:
        self._settings = settings
        self._simulated = simulated
        self._sleep = sleep
        self._randomness = randomness or random.Random()
        self._url = settings.base_url or OPENAI_URL
        # All nodes call it by this, whatever their keys are.
        name = hashlib.sha256(f"{self._url} {settings.model}".encode()).hexdigest()[:12]
        self._endpoint = Endpoint(name, round(settings.rate * 1_000))
        # The simulated model is on this machine: no proxy of the environment may get between.
        self._completions = Completions(settings, self._url, trust_env=not simulated)
        self._abilities = frozenset(Ability)  # until it rejects one
        self._estimate = Estimate()
        self._prices = NO_PRICES if simulated else None  # None: nobody knows them
        self._has_looked = simulated  # for the prices

    @property
    def takes_schemas(self) -> bool:
        """Whether the form of an answer may be given; False once that was rejected."""
        return Ability.SCHEMA in self._abilities

    async def ask(
        self,
        messages: Sequence[Message],
        hear: Callable[[str], None],
        restart: Callable[[], None],
        progress: Progress,
        schema: Mapping[str, object] | None = None,
    ) -> Reply:
        """Put the conversation to the model. `hear` gets the text as it arrives, `restart` is told
        when what was heard so far is void because a request broke off; `progress` counts what was
        used, and asks for leave where there is a budget. With a `schema` the answer is to have that
        form; where the endpoint knows of no such thing, `Unable` tells so, and `takes_schemas`."""
        self._check_settings()
        await self.prepare()
        tries = 0
        room = 0  # for the answer, once the endpoint has said that there is less than was asked for
        size = size_of(messages, schema)
        while True:
            permit = await self._permit(size, progress.meter)
            tokens_out = min(permit.tokens_out, room or permit.tokens_out)
            progress.spend(self._usage(calls=1))
            count = Count(messages, hear, lambda *tokens: progress.spend(self._usage(0, *tokens)))
            try:
                asked = Asked(messages, self._abilities, tokens_out, schema)
                reply = await self._completions.ask(asked, count)
                count.close()
                return reply
            except asyncio.CancelledError:
                count.close()
                raise
            except Unable as fault:
                log.info("> %s does not know %s", self._url, fault)
                self._abilities -= {fault.ability}
                if fault.ability is Ability.SCHEMA:
                    raise
                continue
            except Overflow as fault:
                count.refuse()
                if room or not ANSWER_MIN <= fault.room < tokens_out:
                    raise
                room = fault.room
                continue
            except Retryable as fault:
                count.close_if_heard()
                restart()
                self._tell(fault, progress.meter)
                failed = fault
            except AgentError:
                count.close_if_heard()
                raise
            finally:
                if count.is_told and count.tokens_in is not None:
                    self._estimate.learn(size, count.tokens_in)
                permit.settle(count.tokens_in, count.tokens_out)
            tries += 1
            await self._wait(tries, failed)

    async def prepare(self) -> None:
        """Import the client and set it up, and look for the prices; nothing is sent."""
        await self._completions.connect()
        if not self._has_looked and self._settings.model:
            self._prices = await self._find_prices()
            self._has_looked = True

    async def close(self) -> None:
        """Close the connections."""
        await self._completions.close()

    # -- before ----------------------------------------------------------------------------------

    def _check_settings(self) -> None:
        if not self._settings.base_url and not self._settings.api_key:
            raise AgentError(
                Failure.NO_MODEL,
                "no model to ask: set OPENAI_API_KEY, or OPENAI_BASE_URL for a server of your own",
            )
        if not self._settings.model:
            raise AgentError(
                Failure.NO_MODEL, f"no model chosen: set OPENAI_MODEL to one that {self._url} has"
            )

    async def _permit(self, size: int, meter: Meter | None) -> Permit:
        """Leave for one request of so many bytes."""
        if meter is None:
            return FREE
        if not meter.counts:
            return await meter.ask(self._endpoint)
        # The simulated model's counts are measured means, and none of the words.
        tokens_in = max(size, READ_MAX) if self._simulated else self._estimate.tokens(size)
        most = self._settings.answer_tokens_max
        least = min(ANSWER_MIN, most)
        if meter.limits_money and self._prices is None:
            raise AgentError(Failure.NO_MODEL, why_no_price(self._settings.model))
        return await meter.ask(self._endpoint, tokens_in, least, most, self._prices or NO_PRICES)

    async def _find_prices(self) -> Prices | None:
        """What the model costs. AgentError if nobody can read what the user says of it: another
        node's agent may do the task."""
        try:
            return await in_thread(prices_of, self._settings.model, self._url)
        except InvalidJob as fault:
            raise AgentError(Failure.NO_MODEL, str(fault)) from None

    def _usage(self, calls: int, tokens_in: int = 0, tokens_out: int = 0) -> Usage:
        """What that has cost, as far as is known."""
        if self._simulated:
            return Usage(calls, tokens_in, tokens_out, simulated=True)
        return Usage(
            calls,
            tokens_in,
            tokens_out,
            microusd=self._prices.cost(tokens_in, tokens_out) if self._prices else 0,
            unpriced=0 if self._prices else tokens_in + tokens_out,
            model=shorten(self._settings.model, MODEL_LENGTH_MAX),
        )

    # -- after a failure -------------------------------------------------------------------------

    def _tell(self, fault: Retryable, meter: Meter | None) -> None:
        """A 429 concerns the whole team."""
        if not fault.is_too_many:
            return
        log.warning("! %s %s", self._url, fault.detail)
        if meter is not None:
            meter.refused(self._endpoint, fault.retry_after_s or 0.0)

    async def _wait(self, tries: int, fault: Retryable) -> None:
        """Sleep before the next try, or give up with a clear account. That the endpoint is away is
        no fault of the task, which is tried again when it may be back."""
        settings = self._settings
        tries_max = settings.tries_max
        if fault.is_unreachable:
            tries_max = min(tries_max, UNREACHABLE_TRIES_MAX)
        reason = Failure.UNREACHABLE if fault.is_away else Failure.BACKEND
        if tries >= tries_max:
            raise AgentError(reason, f"{self._url} {fault.detail}; gave up after {tries} requests")
        if fault.retry_after_s is not None and fault.retry_after_s > RETRY_MAX_S:
            raise AgentError(
                reason,
                f"{self._url} {fault.detail}; it asks to wait {fault.retry_after_s:.0f} s, "
                f"more than the {RETRY_MAX_S:.0f} s that are waited at most",
            )
        pause_s = wait_s(
            tries,
            settings.backoff_first_s,
            settings.backoff_max_s,
            fault.retry_after_s,
            self._randomness,
        )
        log.info("> again in %.2f s: %s %s", pause_s, self._url, fault.detail)
        await self._sleep(pause_s)
