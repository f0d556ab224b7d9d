"""Leave to call a model: what a call has used, whatever becomes of it, and what waiting costs."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from agent_setup import Watched, assigned, quick
from foreign_server import (
    FENCED,
    Foreign,
    Play,
    broken,
    foreign_servers,
    hung_up,
    refused,
    streamed,
    whole,
)

from node.agents import AgentError, Progress
from node.agents.chat import ChatEndpoint
from node.agents.estimate import Estimate, size_of
from node.agents.permits import Endpoint, Meter, Permits
from node.agents.prices import PRICES_VARIABLE
from node.prompt.shown import Message
from protocol.clocks import SECOND, Nanoseconds
from protocol.effects import CallDenied, CallGranted
from protocol.events import (
    AgentFailed,
    CallAsked,
    CallSettled,
    Completed,
    Event,
    Failure,
    RateLimited,
)
from protocol.jobs import NOTHING, Amount

TIMEOUT_S = 9.0  # an agent's; twice as long is less than `Watched` waits for an end

foreign = pytest.fixture(foreign_servers, name="foreign")


class Peer:
    """A node's peer that is asked by one agent and answers when it is told to."""

    def __init__(self) -> None:
        self.heard: list[Event] = []
        self.permits = Permits(self.heard.append)
        self.meter = Meter(self.permits, 1, counts=True)

    async def asked(self) -> asyncio.Task[object]:
        """An agent that waits for leave."""
        waiting: asyncio.Task[object] = asyncio.create_task(self.meter.ask(Endpoint("e")))
        await asyncio.sleep(0)
        assert self.heard, "an agent asks before it waits for anything"
        return waiting

    def grant(self) -> None:
        self.permits.answer(CallGranted(1, 1, 0))


@pytest.mark.parametrize("order", ["granted, stopped", "stopped, granted", "stopped"])
async def test_a_call_whose_agent_is_stopped_before_it_begins_has_used_nothing(order: str) -> None:
    peer = Peer()
    waiting = await peer.asked()
    for step in order.split(", "):
        if step == "granted":
            peer.grant()
        else:
            waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    asked, settled = peer.heard
    assert isinstance(asked, CallAsked)
    assert settled == CallSettled(1, 1, NOTHING)


# -- what a call has used --------------------------------------------------------------------------

HELLO = [Message("user", "Hello?")]
RESERVED = Amount(Estimate().tokens(size_of(HELLO)) + 500)  # of an endpoint that has told nothing


class Accountant:
    """A peer that lets each call begin, with an answer of 500 tokens, and keeps the books."""

    def __init__(self, limits_money: bool = False) -> None:
        self.settled: list[Amount] = []
        self.blocked_for: list[Nanoseconds] = []
        self.permits = Permits(self._hear)
        self.meter = Meter(self.permits, 1, counts=True, limits_money=limits_money)

    def _hear(self, event: Event) -> None:
        if isinstance(event, CallAsked):
            granted = CallGranted(event.invocation, event.call, 500)
            asyncio.get_running_loop().call_soon(self.permits.answer, granted)
        elif isinstance(event, CallSettled):
            self.settled.append(event.used)
        elif isinstance(event, RateLimited):
            self.blocked_for.append(event.retry_after_ns)


async def no_wait(delay_s: float) -> None:
    """The pauses between tries are not what is tested here."""


async def used_at(
    url: str, tmp_path: Path, tries_max: int = 1, limits_money: bool = False
) -> list[Amount]:
    """What each request for an answer to "Hello?" is charged with, whatever becomes of it."""
    books = Accountant(limits_money)
    settings = quick(tmp_path, base_url=url, model="local-llm", tries_max=tries_max)
    chat = ChatEndpoint(settings, sleep=no_wait)
    progress = Progress(lambda files: None, books.meter)
    try:
        await chat.ask(HELLO, print, lambda: None, progress)
    except AgentError:
        pass  # of that other tests tell
    finally:
        await chat.close()
    return books.settled


@pytest.mark.parametrize(
    ("play", "used"),
    [
        (streamed("Hi."), Amount(40 + 12)),
        (streamed("Hi.", usage=False), RESERVED),  # nobody has told
        (broken("Hi"), RESERVED),
        (hung_up, RESERVED),
        (refused(500, "a crash"), RESERVED),  # perhaps behind it a model has written
        (refused(408, "too slow"), RESERVED),
        (refused(429, "too many"), NOTHING),
        (refused(503, "overloaded"), NOTHING),
        (refused(401, "who are you?"), NOTHING),
    ],
)
async def test_a_call_of_which_nobody_tells_what_it_used_is_charged_with_all_it_might_have(
    foreign: Foreign, tmp_path: Path, play: Play, used: Amount
) -> None:
    server = foreign(play)
    assert await used_at(server.url, tmp_path) == [used]


async def test_no_model_is_asked_that_nobody_knows_the_price_of(
    foreign: Foreign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node that took the job may have had a price for its own model."""
    monkeypatch.delenv(PRICES_VARIABLE, raising=False)
    server = foreign(streamed("Hi."))
    node = Watched(quick(tmp_path, base_url=server.url, model="local-llm"))
    end = await node.run(replace(assigned("openai"), is_metered=True, limits_money=True))
    await node.invocations.close()
    assert isinstance(end, AgentFailed)
    assert end.reason is Failure.NO_MODEL
    assert "nobody knows what 'local-llm' costs" in end.detail
    assert PRICES_VARIABLE in end.detail
    assert server.asked == []


async def test_a_price_that_is_known_is_what_a_call_is_charged_with(
    foreign: Foreign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PRICES_VARIABLE, "1/2")  # millionths of a dollar for a token
    server = foreign(streamed("Hi."), streamed("Hi.", usage=False))
    for microusd in (40 + 2 * 12, RESERVED.tokens + 500):
        (used,) = await used_at(server.url, tmp_path, limits_money=True)
        assert used.microusd == microusd


async def test_a_call_that_reached_nobody_is_free(tmp_path: Path) -> None:
    nowhere = "http://127.0.0.1:9/v1"
    assert await used_at(nowhere, tmp_path, tries_max=2) == [NOTHING, NOTHING]


async def test_a_call_that_is_broken_off_is_charged_with_all_it_might_have_used(
    foreign: Foreign, tmp_path: Path
) -> None:
    is_asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    may_end = threading.Event()

    def silent(handler: BaseHTTPRequestHandler) -> None:
        loop.call_soon_threadsafe(is_asked.set)
        may_end.wait(TIMEOUT_S)
        handler.close_connection = True

    books = Accountant()
    server = foreign(silent)
    chat = ChatEndpoint(quick(tmp_path, base_url=server.url, model="local-llm"))
    progress = Progress(lambda files: None, books.meter)
    asking = asyncio.create_task(chat.ask(HELLO, print, lambda: None, progress))
    await is_asked.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    may_end.set()
    await chat.close()
    assert books.settled == [RESERVED]


async def test_who_is_asked_to_wait_too_long_fails_at_once_and_tells_the_team(
    foreign: Foreign, tmp_path: Path
) -> None:
    server = foreign(refused(429, "quota", retry_after="3600"))
    books = Accountant()
    chat = ChatEndpoint(quick(tmp_path, base_url=server.url, model="local-llm"), sleep=no_wait)
    progress = Progress(lambda files: None, books.meter)
    with pytest.raises(AgentError, match="it asks to wait 3600 s, more than the 120 s"):
        await chat.ask(HELLO, print, lambda: None, progress)
    await chat.close()
    assert books.blocked_for == [3600 * SECOND]
    assert books.settled == [NOTHING]


# -- time ------------------------------------------------------------------------------------------


class Slow(Watched):
    """A node whose peer gives leave when the agent's time would be long over."""

    waited_s = 0.0

    def _deliver(self, event: Event) -> None:
        if isinstance(event, CallAsked):
            self.waited_s += 2 * TIMEOUT_S
            asyncio.get_running_loop().call_soon(super()._deliver, event)
        else:
            super()._deliver(event)


async def test_waiting_for_leave_is_not_the_agent_s_time(
    foreign: Foreign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = foreign(whole(FENCED))
    here = {"base_url": server.url, "model": "local-llm", "stream": False}
    node = Slow(quick(tmp_path, **here))
    loop = asyncio.get_running_loop()
    passing = loop.time
    monkeypatch.setattr(loop, "time", lambda: passing() + node.waited_s)
    end = await node.run(assigned("openai", timeout_s=TIMEOUT_S))
    await node.invocations.close()
    assert node.waited_s == 2 * TIMEOUT_S
    assert isinstance(end, Completed), end


async def test_after_leave_an_agent_has_the_time_that_it_had_before() -> None:
    peer = Peer()
    async with asyncio.timeout(TIMEOUT_S) as peer.meter.deadline:
        before = peer.meter.deadline.when()
        waiting = await peer.asked()
        peer.permits.answer(CallDenied(1, 1, "no"))
        with pytest.raises(AgentError):
            await waiting
        after = peer.meter.deadline.when()
        assert before is not None
        assert after is not None
        assert before <= after < before + TIMEOUT_S
