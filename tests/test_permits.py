"""Leave to call a model: what becomes of a call whose agent is stopped while it waits."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from agent_setup import Watched, assigned, quick
from foreign_server import FENCED, Foreign, foreign_servers, whole

from node.agents import AgentError
from node.agents.permits import Endpoint, Meter, Permits
from protocol.effects import CallDenied, CallGranted
from protocol.events import CallAsked, CallSettled, Completed, Event
from protocol.jobs import NOTHING

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
