"""The agent that asks a model behind an OpenAI-compatible endpoint.

Invariant: an attempt is at most three turns: the answer, one continuation if it was cut off, and
one repair of it. A prompt that is too long is shortened at most SHRINKINGS_MAX times. Files are
reported as soon as their fence closes in the stream.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from node.agents import AgentError, AgentResult, Progress
from node.agents.answer import Answer, AnswerReader
from node.agents.chat import ChatEndpoint
from node.agents.continuing import Seam
from node.agents.json_answer import files_form, groups_form, read_json_files
from node.agents.overflow import Overflow
from node.agents.rejection import Unable, one_line
from node.agents.reply import Reply
from node.agents.settings import AnswerFormat
from node.agents.shrinking import SHRINKINGS_MAX, shrink
from node.agents.unfinished import SoFar, shared_meanwhile, text_so_far
from node.agents.verdict import Verdict, faults_of, verdict_of
from node.prompt.follow_up import continue_prompt, keep_lines, mark_prompt, repair_prompt
from node.prompt.judging import judge_prompt, read_groups
from node.prompt.opening import build_prompt, is_marked
from node.prompt.shown import Message, shorten
from protocol.conclusion import conclusion_of, has_conclusion
from protocol.effects import Assignment, Purpose
from protocol.events import Failure
from protocol.jobs import File

log = logging.getLogger(__name__)

JUDGE_TURNS_MAX = 2  # the verdict, and one more question for it

Prompt = Callable[[Assignment, bool], tuple[Message, ...]]  # for an assignment, in JSON or not
Later = Callable[[bool], tuple[Message, ...]]  # the turns after it


def _nothing(as_json: bool) -> tuple[Message, ...]:
    return ()


@dataclass(slots=True)
class _Talk:
    """A conversation, which can be put anew for a model that holds less or knows no JSON schema."""

    assignment: Assignment
    prompt: Prompt
    form: Mapping[str, object] | None  # the schema for the answer, where one is wanted
    later: Later = _nothing
    excess: int = 0  # characters that the prompt has been too long by, so far
    shrinkings: int = 0

    def messages(self, as_json: bool) -> tuple[Message, ...]:
        """What is sent; the last question alone says in which form the answer is wanted."""
        later = self.later(as_json)
        shown = shrink(self.assignment, self.excess)
        return self.prompt(shown, as_json and not later) + later

    def shrink(self, overflow: Overflow, as_json: bool) -> None:
        """Leave something out, or give up with the endpoint's own words."""
        size = _size_of(self.messages(as_json))
        self.excess += overflow.excess(size)
        self.shrinkings += 1
        if self.shrinkings > SHRINKINGS_MAX or _size_of(self.messages(as_json)) >= size:
            raise overflow
        log.info("> a shorter prompt: %s", overflow)


def _size_of(messages: tuple[Message, ...]) -> int:
    return sum(len(message.content) for message in messages)


class OpenAIAgent:
    """Asks, reads the answer, and does about it what its verdict calls for."""

    def __init__(
        self, endpoint: ChatEndpoint, answer_format: AnswerFormat = AnswerFormat.AUTO
    ) -> None:
        self._endpoint = endpoint
        self._format = answer_format

    async def prepare(self) -> None:
        """Load the client."""
        await self._endpoint.prepare()

    async def run(self, assignment: Assignment, workspace: Path, progress: Progress) -> AgentResult:
        """Do the task."""
        if assignment.purpose is Purpose.JUDGE:
            return await self._judge(assignment, progress)
        wanted = assignment.task.writes
        made: dict[str, File] = {}
        is_json = self._format is AnswerFormat.JSON and bool(wanted)
        talk = _Talk(assignment, build_prompt, files_form(wanted) if is_json else None)
        can_continue = can_repair = True
        kept = ""
        while True:
            reply, text, answer = await self._turn(talk, wanted, kept, progress)
            made.update((file.path, file) for file in answer.files)
            progress.finish(answer.files)
            missing = tuple(path for path in wanted if path not in made)
            verdict = verdict_of(reply, wanted, missing, bool(answer.files))
            if verdict is Verdict.GOOD:
                if answer.refused:
                    log.info("! files that nobody asked for: %s", ", ".join(answer.refused))
                if wanted:
                    progress.find_out(answer.said)  # not what only stands in a file
                    return AgentResult(tuple(made[path] for path in wanted))
                text = text.strip()
                if is_marked(assignment) and not has_conclusion(text) and can_repair:
                    text = await self._mark(talk, text, progress)
                return AgentResult((), text)
            said = _said_beside(verdict, text, answer)
            if wanted:  # else the lines are part of an answer that may yet be whole
                progress.find_out(said)
            kept = ""
            if verdict is Verdict.CUT_OFF and can_continue:
                can_continue = False
                kept = _go_on(talk, text, faults_of(reply, answer), missing)
            elif verdict in (Verdict.EMPTY, Verdict.UNUSABLE) and can_repair:
                can_repair = False
                self._repair(talk, text, faults_of(reply, answer), missing)
            else:
                progress.find_out(said)
                raise _failure(verdict, reply, answer)

    async def _mark(self, talk: _Talk, text: str, progress: Progress) -> str:
        """The text with its answer in a marked line, which is asked for. If none comes of that the
        text stays as it is: all of it counts as the answer, so that nothing is lost."""
        talk.form, talk.later = None, lambda as_json: mark_prompt(text)
        try:
            _, said, _ = await self._turn(talk, (), "", progress)
        except AgentError as fault:
            log.info("! no marked answer: %s", fault.detail)
            return text
        return f"{text}\n\nAnswer: {conclusion_of(said)}" if has_conclusion(said) else text

    async def _judge(self, assignment: Assignment, progress: Progress) -> AgentResult:
        """Which of the answers agree."""
        form = None if self._format is AnswerFormat.FENCED else groups_form()
        talk = _Talk(assignment, judge_prompt, form)
        said = ""
        for _ in range(JUDGE_TURNS_MAX):
            reply, said, _ = await self._turn(talk, (), "", progress)
            groups = read_groups(said, len(assignment.proposals))
            if groups:
                return AgentResult((), " ".join(map(str, groups)))
            if verdict_of(reply, (), (), found=False) is Verdict.REFUSED:
                raise _failure(Verdict.REFUSED, reply)
            talk.form, talk.later = None, _once_more(said)
        raise AgentError(Failure.OUTPUT, f"the judge does not say which answers agree: {said}")

    async def close(self) -> None:
        """Close the endpoint's connections."""
        await self._endpoint.close()

    # -- one turn --------------------------------------------------------------------------------

    async def _turn(
        self, talk: _Talk, wanted: tuple[str, ...], kept: str, progress: Progress
    ) -> tuple[Reply, str, Answer]:
        """Ask, and read what comes: the reply to this turn, its text joined to what was `kept`
        before, and what is found in that."""
        while True:
            form = talk.form if self._endpoint.takes_schemas else None
            messages = talk.messages(form is not None)
            try:
                return await self._ask(messages, form, wanted, kept, progress)
            except Unable:
                assert not self._endpoint.takes_schemas  # so that this happens once
            except Overflow as overflow:
                talk.shrink(overflow, form is not None)

    async def _ask(
        self,
        messages: tuple[Message, ...],
        form: Mapping[str, object] | None,
        wanted: tuple[str, ...],
        kept: str,
        progress: Progress,
    ) -> tuple[Reply, str, Answer]:
        reading = _Reading(wanted, kept, progress)
        hear, restart = reading.hear, reading.restart
        try:
            async with shared_meanwhile(reading.so_far, progress):
                reply = await self._endpoint.ask(messages, hear, restart, progress, form)
        except BaseException:  # the attempt ends here, were it aborted
            progress.find_out(reading.outside)
            raise
        progress.so_far((), ())  # it is whole, whatever it is good for
        return reply, *reading.end()

    def _repair(
        self, talk: _Talk, said: str, faults: tuple[str, ...], missing: tuple[str, ...]
    ) -> None:
        """Show the model its answer; where fences did not help, a schema may."""
        is_json = self._format is not AnswerFormat.FENCED and bool(missing)
        talk.form = files_form(missing) if is_json else None
        talk.later = lambda as_json: repair_prompt(said, faults, missing, as_json)


class _Reading:
    """An answer as it comes in, joined to what was kept of one that was cut off."""

    def __init__(self, wanted: tuple[str, ...], kept: str, progress: Progress) -> None:
        self._wanted = wanted
        self._kept = kept
        self._progress = progress
        self.restart()

    def restart(self) -> None:
        """What came is void."""
        self._seam = Seam(self._kept, self._wanted)
        self._reader = AnswerReader(self._wanted)
        self._text: list[str] = []

    def hear(self, piece: str) -> None:
        """The next piece."""
        self._read(self._seam.feed(piece))

    async def so_far(self) -> SoFar:
        """What was heard, for whoever has to ask again if the rest never comes."""
        return text_so_far("".join(self._text))

    @property
    def outside(self) -> str:
        """The whole lines so far that are in no file."""
        return "" if _is_json("".join(self._text)) else self._reader.outside

    def end(self) -> tuple[str, Answer]:
        """All of the text, and what was found in it."""
        self._read(self._seam.close())
        text = "".join(self._text)
        answer = self._reader.close()
        if not answer.files or answer.guessed:
            answer = read_json_files(text, self._wanted) or answer
        return text, answer

    def _read(self, piece: str) -> None:
        self._text.append(piece)
        self._progress.finish(self._reader.feed(piece))


def _go_on(talk: _Talk, said: str, faults: tuple[str, ...], missing: tuple[str, ...]) -> str:
    """Ask for the rest of an answer; what is kept of it. JSON is no text to go on with: what is
    missing is asked for in fences."""
    before = talk.later
    if missing and _is_json(said):
        turns, kept = repair_prompt(said, faults, missing), ""
    else:
        kept = keep_lines(said)
        turns = continue_prompt(kept)
    talk.form = None
    talk.later = lambda _: before(False) + turns
    return kept


def _said_beside(verdict: Verdict, text: str, answer: Answer) -> str:
    """What an answer that is not good says outside of files, as far as that can be told."""
    if _is_json(text):  # in what is left of it the lines of a file look like words of its own
        return ""
    return keep_lines(answer.said) if verdict is Verdict.CUT_OFF else answer.said


def _is_json(text: str) -> bool:
    """Whether that is what it seems to be, or to have begun with."""
    return text.lstrip().startswith(("{", "["))


def _once_more(said: str) -> Later:
    question = "Write one line for each answer: its number, a colon, a letter."
    turns = (Message("assistant", shorten(said) or "(nothing)"), Message("user", question))
    return lambda _: turns


def _failure(verdict: Verdict, reply: Reply, answer: Answer | None = None) -> AgentError:
    """Why the attempt ends with this answer."""
    assert verdict.value is not None
    faults = "; ".join(faults_of(reply, answer)) if answer else ""
    match verdict:
        case Verdict.REFUSED if reply.is_filtered and not reply.refusal:
            detail = f"the endpoint's filter stopped the answer ({reply.finish_reason}): reword it"
        case Verdict.REFUSED:
            detail = f"the model refuses: {one_line(reply.refusal or reply.text)}"
        case Verdict.CUT_OFF:
            detail = f"{faults}, also when asked to go on: ask for less at once"
        case Verdict.EMPTY:
            detail = "the answer is empty, also when asked again"
        case _:
            detail = f"no usable answer, even when asked again: {faults}"
    return AgentError(verdict.value, detail)
