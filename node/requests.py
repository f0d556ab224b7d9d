"""What clients have asked of this node, and wait for: a future for each request, by its number, and
one for each command, or for several that are answered together.

Invariant: whatever was taken is answered once: by a result, by the reason why it was not done, or,
when the node stops, by the word that it may have been.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import count
from typing import Any

from protocol.effects import Refused
from protocol.errors import (
    Busy,
    ChangeRefused,
    InvalidEntry,
    InvalidEvent,
    InvalidJob,
    InvalidTag,
    NoLeader,
    NotLeader,
    NotPossible,
    QuorateError,
    TimedOut,
)
from protocol.events import Commanded
from protocol.registers import Command

REQUESTS_MAX = 1_000  # clients waiting for an answer; commands are bounded by the clerk

_ERRORS: dict[str, type[QuorateError]] = {
    kind.__name__: kind
    for kind in (
        Busy,
        ChangeRefused,
        InvalidEntry,
        InvalidEvent,
        InvalidJob,
        InvalidTag,
        NoLeader,
        NotLeader,
        NotPossible,
        TimedOut,
    )
}


class Requests:
    """See the module's text."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._numbers = count(1)
        self._commands: list[Command] = []  # for the next step, numbered up to `_command`
        self._command = 0
        self._results: dict[int, asyncio.Future[int] | _Several] = {}

    # -- asking ------------------------------------------------------------------------------------

    def open(self) -> tuple[int, asyncio.Future[Any]]:
        """A number for a new request, and where its answer will be. Busy."""
        if len(self._waiting) >= REQUESTS_MAX:
            raise Busy(f"{REQUESTS_MAX} requests wait here already; try again")
        number = next(self._numbers)
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._waiting[number] = answer
        return number, answer

    def close(self, number: int) -> None:
        """Nobody waits for that any more."""
        del self._waiting[number]

    def command(self, command: Command) -> asyncio.Future[int]:
        """Have it done in the next step; its revision, or why there is none."""
        result: asyncio.Future[int] = self._loop.create_future()
        self._queue(command, result)
        return result

    def commands(self, commands: Sequence[Command]) -> asyncio.Future[list[int | QuorateError]]:
        """The same for many: for each what its own future would have had."""
        several = _Several(self._loop, len(commands), self._command + 1)
        for command in commands:
            self._queue(command, several)
        return several.answer

    def _queue(self, command: Command, waiting: asyncio.Future[int] | _Several) -> None:
        self._commands.append(command)
        self._command += 1
        self._results[self._command] = waiting

    def take_commands(self) -> Commanded | None:
        """All that were queued since the last step; None if there are none."""
        if not self._commands:
            return None
        commands, self._commands = self._commands, []
        return Commanded(self._command - len(commands) + 1, tuple(commands))

    # -- answering ---------------------------------------------------------------------------------

    def reply(self, request: int, error: str, detail: str, answer: object) -> None:
        """Answer a request, or say by the name of an error why it was not done."""
        waiting = self._waiting.get(request)
        if waiting is None or waiting.done():
            return  # the client has gone
        if error:
            waiting.set_exception(_ERRORS[error](detail))
        else:
            waiting.set_result(answer)

    def done(self, first: int, revisions: Sequence[int]) -> None:
        """Commands from the number `first` on have been done."""
        for number, revision in enumerate(revisions, first):
            self._answer(number, revision)

    def refuse(self, refused: Refused, detail: str) -> None:
        """Commands or reads were not done."""
        for number in range(refused.first, refused.first + refused.count):
            if refused.is_command:
                self._answer(number, _ERRORS[refused.error](detail))
            else:
                self.reply(number, refused.error, detail, None)

    def give_up(self) -> None:
        """Answer all that wait: the node stops."""
        late = TimedOut("the node is stopping; the request may have happened")
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(late)
        for number in [*self._results]:
            self._answer(number, late)

    def _answer(self, number: int, result: int | QuorateError) -> None:
        waiting = self._results.pop(number)
        if isinstance(waiting, _Several):
            waiting.take(number, result)
        elif not waiting.done():  # else the client has gone
            if isinstance(result, int):
                waiting.set_result(result)
            else:
                waiting.set_exception(result)


class _Several:
    """Commands that are answered together: those from the number `first` on."""

    __slots__ = ("_first", "_missing", "_results", "answer")

    def __init__(self, loop: asyncio.AbstractEventLoop, count: int, first: int) -> None:
        self.answer: asyncio.Future[list[int | QuorateError]] = loop.create_future()
        self._first = first
        self._missing = count
        self._results: list[int | QuorateError] = [0] * count
        if not count:
            self.answer.set_result([])

    def take(self, number: int, result: int | QuorateError) -> None:
        self._results[number - self._first] = result
        self._missing -= 1
        if not self._missing and not self.answer.done():
            self.answer.set_result(self._results)
