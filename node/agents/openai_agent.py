"""The agent that asks a model behind an OpenAI-compatible endpoint.

Invariant: an attempt is at most two turns, the answer and one repair of it; files
are reported as soon as their fence closes in the stream.
"""

from __future__ import annotations

import logging
from pathlib import Path

from node.agents import AgentError, AgentResult, Progress
from node.agents.answer import Answer, AnswerReader
from node.agents.chat import ChatEndpoint, Reply
from node.prompt import (
    Message,
    build_prompt,
    is_marked,
    judge_prompt,
    mark_prompt,
    read_groups,
    repair_prompt,
    shorten,
)
from protocol.conclusion import conclusion_of, has_conclusion
from protocol.effects import Assignment, Purpose
from protocol.events import Failure
from protocol.jobs import File

log = logging.getLogger(__name__)

TURNS_MAX = 2  # the answer, and one repair


class OpenAIAgent:
    """Asks, reads the answer, and gives the model one chance to repair it."""

    def __init__(self, endpoint: ChatEndpoint) -> None:
        self._endpoint = endpoint

    async def prepare(self) -> None:
        """Load the client."""
        await self._endpoint.prepare()

    async def run(self, assignment: Assignment, workspace: Path, progress: Progress) -> AgentResult:
        """Do the task with at most TURNS_MAX turns of conversation."""
        if assignment.purpose is Purpose.JUDGE:
            return await self._judge(assignment, progress)
        messages = build_prompt(assignment)
        wanted = assignment.task.writes
        made: dict[str, File] = {}
        faults: tuple[str, ...] = ()
        for turn in range(TURNS_MAX):
            reply, answer = await self._turn(messages, wanted, progress)
            made.update((file.path, file) for file in answer.files)
            progress.finish(answer.files)
            missing = [path for path in wanted if path not in made]
            if reply.finish_reason == "content_filter":
                raise AgentError(
                    Failure.OUTPUT, "the endpoint's content filter stopped the answer: reword it"
                )
            if wanted and not missing:
                if answer.refused:
                    log.info("! files that nobody asked for: %s", ", ".join(answer.refused))
                return AgentResult(tuple(made[path] for path in wanted))
            if not wanted and reply.text.strip() and reply.finish_reason != "length":
                text = reply.text.strip()
                if is_marked(assignment) and not has_conclusion(text) and turn == 0:
                    text = await self._mark(messages, text, progress)
                return AgentResult((), text)
            faults = _faults_of(reply, answer)
            messages += repair_prompt(reply.text, faults, missing)
        raise AgentError(
            Failure.OUTPUT, "no usable answer, even when asked again: " + "; ".join(faults)
        )

    async def _mark(self, messages: tuple[Message, ...], text: str, progress: Progress) -> str:
        """The text with its answer in a marked line, which is asked for. If none comes of that the
        text stays as it is: all of it counts as the answer, so that nothing is lost."""
        try:
            reply, _ = await self._turn((*messages, *mark_prompt(text)), (), progress)
        except AgentError as fault:
            log.info("! no marked answer: %s", fault.detail)
            return text
        said = reply.text.strip()
        return f"{text}\n\nAnswer: {conclusion_of(said)}" if has_conclusion(said) else text

    async def _judge(self, assignment: Assignment, progress: Progress) -> AgentResult:
        """Which of the answers agree; asked twice at most."""
        messages = judge_prompt(assignment)
        said = ""
        for _ in range(TURNS_MAX):
            reply, _ = await self._turn(messages, (), progress)
            said = reply.text
            groups = read_groups(said, len(assignment.proposals))
            if groups:
                return AgentResult((), " ".join(map(str, groups)))
            messages += (
                Message("assistant", shorten(said) or "(nothing)"),
                Message("user", "Write one line for each answer: its number, a colon, a letter."),
            )
        raise AgentError(Failure.OUTPUT, f"the judge does not say which answers agree: {said}")

    async def close(self) -> None:
        """Close the endpoint's connections."""
        await self._endpoint.close()

    async def _turn(
        self, messages: tuple[Message, ...], wanted: tuple[str, ...], progress: Progress
    ) -> tuple[Reply, Answer]:
        reader = AnswerReader(wanted)

        def hear(text: str) -> None:
            progress.finish(reader.feed(text))

        def restart() -> None:
            nonlocal reader
            reader = AnswerReader(wanted)

        reply = await self._endpoint.ask(messages, hear, restart, progress)
        return reply, reader.close()


def _faults_of(reply: Reply, answer: Answer) -> tuple[str, ...]:
    """What is wrong with an answer, the most telling thing first."""
    faults = []
    if reply.finish_reason == "length":
        faults.append("the answer was cut off at the endpoint's token limit (length)")
    if not reply.text.strip():
        faults.append("the answer is empty")
    faults += answer.faults
    return tuple(faults)
