"""Agents: whatever turns an assignment into files or a text.

The boundary with the rest of a node is `protocol.effects.Assignment` in and
`protocol.events.Progressed`, `Completed` and `AgentFailed` out; `invocation.py` keeps it. Behind
it an agent is one async method. The kinds live in files of their own (`openai_agent.py`,
`simulated_agent.py`, `command_agent.py`, `python_agent.py`, `human_agent.py`) and are found by
`kinds.py`, so that what is heavy is imported only where it is used.

Invariant: an agent ends in one of three ways: it returns an `AgentResult`, it raises `AgentError`,
or it is cancelled. Whatever it finished or spent by then is in its `Progress`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from node.prompt.shown import shorten
from protocol.effects import Assignment
from protocol.errors import QuorateError
from protocol.events import Failure
from protocol.jobs import File, Usage

if TYPE_CHECKING:
    from node.agents.permits import Meter

FACT_MARK = "FACT:"
FACTS_MAX = 5  # of one attempt; the others are passed over


class AgentError(QuorateError):
    """An agent's own account of why there is no result."""

    def __init__(self, reason: Failure, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = shorten(detail)


@dataclass(frozen=True, slots=True)
class AgentResult:
    """What an agent made: the files it was asked for, or the text that answers a question. Beside
    files the text is what was said about them, unless it `is_file`: what became one of them. `left`
    names files that a program wrote and that are no part of the result."""

    files: tuple[File, ...]
    text: str = ""
    is_file: bool = False
    left: str = ""


class Progress:
    """What an invocation has finished and spent so far; it outlives the agent's failure."""

    def __init__(
        self,
        announce: Callable[[tuple[File, ...]], None],
        meter: Meter | None = None,
        tell: Callable[[str], None] = lambda fact: None,
        share: Callable[[tuple[File, ...], tuple[File, ...]], None] = lambda files, keeps: None,
    ) -> None:
        self._announce = announce
        self._tell = tell
        self._share = share
        self._keeps = False
        self._told: set[str] = set()
        self._files: dict[str, File] = {}
        self.usage = Usage()
        self.meter = meter  # asks before each call of a model

    @property
    def files(self) -> tuple[File, ...]:
        """The newest version of each finished file."""
        return tuple(self._files.values())

    def finish(self, files: Iterable[File]) -> None:
        """Note files that are complete, and tell the peer about those that are new or changed."""
        news = tuple(file for file in files if self._files.get(file.path) != file)
        if news:
            self._files.update((file.path, file) for file in news)
            self._announce(news)

    def so_far(self, files: Iterable[File], keeps: Iterable[File]) -> None:
        """Let the team have what is not finished: of the task's files those that have changed, and
        all that is kept for a successor. Nothing is said if nothing is kept, and nothing was."""
        unfinished, kept = tuple(files), tuple(keeps)
        if unfinished or kept or self._keeps:
            self._keeps = bool(kept)
            self._share(unfinished, kept)

    def find_out(self, words: str) -> None:
        """Tell the team what an agent says it has found out: its lines that begin with `FACT:`,
        each once. What was said counts however the attempt ends."""
        for line in words.splitlines():
            fact = line.strip().removeprefix(FACT_MARK).strip()
            is_one = line.strip().startswith(FACT_MARK) and fact
            if is_one and fact not in self._told and len(self._told) < FACTS_MAX:
                self._told.add(fact)
                self._tell(fact)

    def spend(self, usage: Usage) -> None:
        """Add to what this invocation has consumed."""
        self.usage = self.usage.plus(usage)


class Agent(Protocol):
    """One kind of agent. A single instance serves all its invocations, several at a time."""

    async def prepare(self) -> None:
        """Do now what the first `run` would lose time with: heavy imports, starting a server."""
        ...

    async def run(self, assignment: Assignment, workspace: Path, progress: Progress) -> AgentResult:
        """Do the task. `workspace` is an empty folder that is removed afterwards.

        Raises AgentError. On cancellation everything that was started is stopped first.
        """
        ...

    async def close(self) -> None:
        """Release what the agent holds between invocations."""
        ...
