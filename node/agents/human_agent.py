"""The agent that is a person: it asks, and waits until somebody answers at a client door.

Invariant: each question gets one answer, and an answer that was taken is whole: exactly the files
that the task writes, within the limits, or a text where it writes none. What its check says of it
is told to who gave it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from node.agents import AgentError, AgentResult, Progress
from node.agents.command_agent import ANSWER_SIZE_MAX, TALK_SIZE_MAX
from protocol.effects import Assignment
from protocol.events import Failure
from protocol.jobs import FILE_SIZE_MAX, RESULT_SIZE_MAX, File, Task

_Key: TypeAlias = tuple[str, str, int, int]  # job, task, slot, token


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """One that is open, or answered and not checked yet. `asked_at` is of `time.monotonic()`;
    `outcome` is why the attempt has no result, None if the answer was handed in."""

    assignment: Assignment
    asked_at: float
    answer: asyncio.Future[AgentResult] = field(repr=False)
    outcome: asyncio.Future[AgentError | None] = field(repr=False)


class HumanAgent:
    """The questions of one node to people."""

    def __init__(self) -> None:
        self._questions: dict[_Key, Question] = {}

    async def prepare(self) -> None:
        """Nothing to do: people prepare themselves."""

    async def run(self, assignment: Assignment, workspace: Path, progress: Progress) -> AgentResult:
        """Wait for somebody's answer."""
        loop = asyncio.get_running_loop()
        question = Question(
            assignment, time.monotonic(), loop.create_future(), loop.create_future()
        )
        self._questions[_key(assignment)] = question
        return await question.answer

    async def close(self) -> None:
        """Whoever waited was aborted before."""

    def open(self) -> list[Question]:
        """What waits for an answer, the oldest first."""
        return [question for question in self._questions.values() if not question.answer.done()]

    def take(self, question: Question, text: str, files: Sequence[File]) -> None:
        """Somebody's answer to an open question. AgentError says what is wrong with it."""
        assert not question.answer.done(), "each question gets one answer"
        question.answer.set_result(result_of(question.assignment.task, text, files))

    def ended(self, assignment: Assignment, fault: AgentError | None) -> None:
        """The attempt is over: `fault` says why there is no result of it; None if there is."""
        question = self._questions.pop(_key(assignment), None)
        if question is not None and not question.outcome.done():
            question.outcome.set_result(fault)


def result_of(task: Task, text: str, files: Sequence[File]) -> AgentResult:
    """What a person gave, as an agent's result: where one file is wanted and only a text is there,
    the text is the file. AgentError if it is not what was asked for."""
    size = len(text.encode())
    if not task.writes:
        if files:
            raise _wrong("it writes no files: answer with a text")
        if not text.strip():
            raise _wrong("the answer is empty: it wants a text")
        if size > ANSWER_SIZE_MAX:
            raise _wrong(f"the text is {size} bytes, the limit is {ANSWER_SIZE_MAX}")
        return AgentResult((), text.strip())
    if not files and text.strip() and len(task.writes) == 1:
        whole = text if text.endswith("\n") else f"{text}\n"
        _check_sizes(given := (File(task.writes[0], whole.encode()),))
        return AgentResult(given, is_file=True)
    paths = [file.path for file in files]
    missing = [path for path in task.writes if path not in paths]
    unasked = [path for path in paths if path not in task.writes]
    faults = [f"{', '.join(missing)} is missing"] if missing else []
    faults += [f"nobody asked for {', '.join(unasked)}"] if unasked else []
    faults += ["a file is given twice"] if len(set(paths)) < len(paths) else []
    if faults:
        raise _wrong(f"{'; '.join(faults)}: it writes {', '.join(task.writes)}")
    _check_sizes(files)
    if size > TALK_SIZE_MAX:
        raise _wrong(f"the text beside the files is {size} bytes, the limit is {TALK_SIZE_MAX}")
    return AgentResult(tuple(files), text.strip())


def _check_sizes(files: Sequence[File]) -> None:
    for file in files:
        if len(file.content) > FILE_SIZE_MAX:
            size = len(file.content)
            raise _wrong(f"{file.path} is {size} bytes, the limit for one file is {FILE_SIZE_MAX}")
    if sum(len(file.content) for file in files) > RESULT_SIZE_MAX - TALK_SIZE_MAX:
        raise _wrong(f"the files are over {RESULT_SIZE_MAX - TALK_SIZE_MAX} bytes together")


def _wrong(detail: str) -> AgentError:
    return AgentError(Failure.OUTPUT, detail)


def _key(assignment: Assignment) -> _Key:
    return assignment.job, assignment.task.id, assignment.slot, assignment.token
