"""What the tests of agents and of the simulated model share: a small book, and a watched node."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from node.agents.answer import Answer, AnswerReader
from node.agents.invocation import Invocations
from node.agents.settings import AgentSettings
from protocol.effects import Assignment, CallGranted
from protocol.events import (
    AgentFailed,
    CallAsked,
    CallSettled,
    Completed,
    Event,
    Progressed,
    RateLimited,
)
from protocol.jobs import File, Task

ADD = "def add(a, b):\n    return a + b\n"
WRONG_ADD = "def add(a, b):\n    return a - b\n"


class SmallBook:
    """Knows add.py and sub.py, and one question."""

    def answer(self, path: str, prompt: str) -> str | None:
        known = {"add.py": ADD, "sub.py": "def sub(a, b):\n    return a - b\n"}
        return known.get(path)

    def wrong_answer(self, path: str, prompt: str, seed: int) -> str | None:
        return WRONG_ADD if path == "add.py" else None

    def answer_question(self, question: str) -> str | None:
        return "Three." if question == "How many of five are a majority?" else None

    def answer_wrongly(self, question: str, seed: int) -> str | None:
        return "Four." if self.answer_question(question) else None


class Watched:
    """Invocations whose events are kept, with a way to wait for them."""

    def __init__(self, settings: AgentSettings) -> None:
        self.events: list[Event] = []
        self._news = asyncio.Condition()
        self._notices: set[asyncio.Task[None]] = set()
        self.invocations = Invocations(settings, self._deliver)

    def _deliver(self, event: Event) -> None:
        if isinstance(event, CallAsked):  # as a peer without limits does
            self.invocations.answer(CallGranted(event.invocation, event.call, 0))
            return
        if isinstance(event, CallSettled | RateLimited):
            return
        self.events.append(event)
        notice = asyncio.ensure_future(self._notify())
        self._notices.add(notice)
        notice.add_done_callback(self._notices.discard)

    async def _notify(self) -> None:
        async with self._news:
            self._news.notify_all()

    async def wait_end(self, invocation: int = 1) -> Completed | AgentFailed:
        async with asyncio.timeout(20), self._news:
            await self._news.wait_for(lambda: self.ends(invocation))
        (end,) = self.ends(invocation)
        return end

    async def wait_progress(self, invocation: int = 1) -> Progressed:
        async with asyncio.timeout(20), self._news:
            await self._news.wait_for(lambda: self.progressed(invocation))
        return self.progressed(invocation)[0]

    def ends(self, invocation: int = 1) -> list[Completed | AgentFailed]:
        return [
            event
            for event in self.events
            if isinstance(event, Completed | AgentFailed) and event.invocation == invocation
        ]

    def progressed(self, invocation: int = 1) -> list[Progressed]:
        return [
            event
            for event in self.events
            if isinstance(event, Progressed) and event.invocation == invocation
        ]

    async def run(self, assignment: Assignment, number: int = 1) -> Completed | AgentFailed:
        self.invocations.start(number, assignment)
        return await self.wait_end(number)


def quick(scratch: Path, **changes: object) -> AgentSettings:
    """Settings with short waits."""
    settings = AgentSettings(
        scratch=scratch,
        request_timeout_s=5.0,
        tries_max=3,
        backoff_first_s=0.001,
        backoff_max_s=0.002,
    )
    return replace(settings, **changes)  # type: ignore[arg-type]


def assigned(agent: str, **changes: object) -> Assignment:
    """An assignment to write add.py, changed as told (fields of the task or the assignment)."""
    task = Task(id="add", prompt="Write add(a, b).", writes=("add.py",), agent=agent)
    of_assignment = {
        name: changes.pop(name)
        for name in ("inputs", "fixtures", "partial", "notes", "lore", "description")
        if name in changes
    }
    task = replace(task, **changes)  # type: ignore[arg-type]
    whole = Assignment("job", task, 0, 7)
    return replace(whole, **of_assignment)  # type: ignore[arg-type]


def text_file(path: str, text: str) -> File:
    return File(path, text.encode())


def read_answer(text: str, wanted: tuple[str, ...]) -> Answer:
    """What is found in an answer that comes in one piece."""
    reader = AnswerReader(wanted)
    reader.feed(text)
    return reader.close()
