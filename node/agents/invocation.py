"""Invocations: from an assignment to exactly one end, `Completed` or `AgentFailed`.

Invariant: each started invocation delivers any number of words on how far it is (`Progressed` and
the like), `AnswerMade` before a result is checked, and then exactly one end, also when its agent
raises, hangs, is aborted or the node stops; and after the end nothing that it started (request,
process, folder) is left.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from node.agents import AgentError, AgentResult, Progress
from node.agents.kinds import Agents
from node.agents.permits import Meter, Permits
from node.agents.scratch import scratch_folder
from node.agents.settings import AgentSettings
from node.agents.verify import Finding, Verifier
from node.legible import legible
from node.prompt.shown import COMMAND_SIZE_MAX, shorten
from protocol.effects import Assignment, CallDenied, CallGranted, Purpose
from protocol.events import (
    AgentFailed,
    AnswerMade,
    Completed,
    Event,
    Failure,
    FoundOut,
    Progressed,
    WrittenSoFar,
)
from protocol.jobs import FILE_SIZE_MAX, RESULT_SIZE_MAX, File

if TYPE_CHECKING:
    from node.agents.human_agent import HumanAgent

log = logging.getLogger(__name__)

WAITING_MAX = 64  # invocations beyond those at work; a peer that starts more has lost count
QUESTIONS_MAX = 1_024  # that wait for people, of all jobs


@dataclass(slots=True)
class _Invocation:
    """One attempt under way."""

    number: int
    assignment: Assignment
    progress: Progress
    meter: Meter
    abort_reason: str | None = None
    work: asyncio.Task[None] | None = field(default=None, repr=False)


class Invocations:
    """The agents at work on this node.

    `deliver` is called from the event loop, also within `start`; it should only put the event in
    a queue.
    """

    def __init__(self, settings: AgentSettings, deliver: Callable[[Event], None]) -> None:
        self._deliver = deliver
        self._permits = Permits(deliver)
        self._bound = settings.invocations_max + WAITING_MAX
        self._scratch = settings.scratch
        self._agents = Agents(settings)
        self._verifier = Verifier(settings.scratch, settings.program_variables)
        self._turns = asyncio.Semaphore(settings.invocations_max)
        self._running: dict[int, _Invocation] = {}
        self._closed = False

    @property
    def people(self) -> HumanAgent:
        """Where people answer what this node asks them."""
        return self._agents.people

    @property
    def running(self) -> tuple[int, ...]:
        """The numbers of the invocations that have not ended."""
        return tuple(self._running)

    async def prepare(self, kind: str) -> None:
        """Load what this kind of agent needs, so that its first task does not wait for it (for the
        `openai` client about half a second). Optional; errors are those of a first use."""
        await self._agents.of(kind).prepare()

    def start(self, invocation: int, assignment: Assignment) -> None:
        """Start an agent on the assignment; its end is delivered with this number."""
        assert invocation not in self._running, f"invocation {invocation} runs already"
        meter = Meter(self._permits, invocation, assignment.is_metered, assignment.limits_money)
        progress = Progress(
            lambda files: self._deliver(Progressed(invocation, files)),
            meter,
            lambda fact: self._deliver(FoundOut(invocation, legible(fact))),
            lambda files, keeps: self._deliver(WrittenSoFar(invocation, files, keeps)),
        )
        run = _Invocation(invocation, assignment, progress, meter)
        if self._closed:
            self._fail(run, Failure.ABORTED, "the node is stopping")
        elif fault := self._why_no_room(assignment):
            self._fail(run, Failure.AGENT, fault)
        else:
            self._running[invocation] = run
            run.work = asyncio.create_task(self._attempt(run), name=f"invocation-{invocation}")
            run.work.add_done_callback(lambda _: self._settle(run))

    def _why_no_room(self, assignment: Assignment) -> str:
        """Empty if there is room for it. People are asked many things at a time."""
        asked = sum(run.assignment.task.asks_person for run in self._running.values())
        if assignment.task.asks_person:
            return "too many questions wait for people here" if asked >= QUESTIONS_MAX else ""
        is_full = len(self._running) - asked >= self._bound
        return f"{self._bound} agents are at work or wait here already" if is_full else ""

    def abort(self, invocation: int, reason: str) -> None:
        """Stop an agent. AgentFailed(ABORTED) follows when all it started is gone; nothing
        happens if it has ended already."""
        run = self._running.get(invocation)
        if run is None or run.abort_reason is not None:
            return
        run.abort_reason = reason
        assert run.work is not None
        run.work.cancel()

    def answer(self, answer: CallGranted | CallDenied) -> None:
        """What the peer says to an agent that wants to call its model."""
        self._permits.answer(answer)

    async def close(self) -> None:
        """Abort everything, wait until it is gone, and release what the agents hold."""
        self._closed = True
        for invocation in self.running:
            self.abort(invocation, "the node is stopping")
        works = [run.work for run in self._running.values() if run.work is not None]
        if works:
            await asyncio.wait(works)
        await self._agents.close()

    # -- one attempt -----------------------------------------------------------------------------

    async def _attempt(self, run: _Invocation) -> None:
        """Run the agent, check what it made, and report the end."""
        try:
            result = await self._result_of(run)
        except asyncio.CancelledError:
            self._fail(run, Failure.ABORTED, run.abort_reason or "cancelled")
            if run.abort_reason is None:  # not ours: whoever cancelled must see it
                raise
        except AgentError as fault:
            self._fail(run, fault.reason, fault.detail)
        except Exception as fault:
            # Whatever an agent raises ends its attempt, and only that.
            log.warning("! invocation %d failed", run.number, exc_info=True)
            self._fail(run, Failure.AGENT, _one_line(fault))
        else:
            del self._running[run.number]
            self._tell_person(run, None)
            text = legible(result.text)
            made = (result.files, text, run.progress.usage)
            self._deliver(Completed(run.number, *made, legible(result.left)))

    async def _result_of(self, run: _Invocation) -> AgentResult:
        purpose = run.assignment.purpose
        if purpose is Purpose.REVIEW:
            return await self._review(run.assignment)
        if purpose is Purpose.WORK and run.assignment.task.asks_person:
            answer = await self._made_by_agent(run)  # a person takes long, and no turn
            async with self._turns:
                return await self._checked(run, answer)
        async with self._turns:
            if purpose is Purpose.FINISH:
                (made,) = run.assignment.proposals
                result = AgentResult(made.files, made.text)
            else:
                result = await self._made_by_agent(run)
            return result if purpose is Purpose.JUDGE else await self._checked(run, result)

    async def _checked(self, run: _Invocation, result: AgentResult) -> AgentResult:
        """The result, if it is what was asked for and its check passes; AgentError else."""
        _check_files(run.assignment.task.writes, result.files)
        run.progress.finish(result.files)
        is_work = run.assignment.purpose is Purpose.WORK
        if is_work and run.assignment.task.verify.strip():
            made_so = (result.files, legible(result.text), run.progress.usage)
            self._deliver(AnswerMade(run.number, *made_so))
        found = await self._check(run.assignment, result.files, result.text)
        if found.fault:
            # To who made it, a check that comes to no end says no.
            is_missing = found.reason is Failure.NO_CHECK
            raise AgentError(found.reason if is_missing else Failure.VERIFY, found.fault)
        return result

    async def _made_by_agent(self, run: _Invocation) -> AgentResult:
        """What the agent makes of it within the task's time."""
        task = run.assignment.task
        try:
            async with asyncio.timeout(task.timeout_s) as limit:
                run.meter.deadline = limit
                async with scratch_folder(self._scratch) as workspace:
                    agent = self._agents.of(task.agent)
                    result = await agent.run(run.assignment, workspace, run.progress)
        except TimeoutError as fault:
            if not limit.expired():  # the agent's own, with a meaning of its own
                raise AgentError(Failure.AGENT, _one_line(fault)) from fault
            raise AgentError(
                Failure.TIMEOUT, f"no result within the task's {task.timeout_s:g} s"
            ) from None
        is_work = run.assignment.purpose is not Purpose.JUDGE
        if is_work and task.writes and not result.is_file:  # else the text is what was asked for
            run.progress.find_out(result.text)
        return result

    async def _review(self, assignment: Assignment) -> AgentResult:
        """Somebody else's result, checked again."""
        (proposal,) = assignment.proposals
        found = await self._check(assignment, proposal.files, proposal.text)
        if found.fault:
            raise AgentError(found.reason, found.fault)
        return AgentResult(())

    async def _check(self, assignment: Assignment, files: tuple[File, ...], text: str) -> Finding:
        """What the check finds. A merge must pass the checks of all tasks whose versions went into
        it; that of the first which it does not is told by name."""
        if not assignment.checks:
            return await self._verifier.check(assignment, files, text)
        for check in assignment.checks:
            of_task = replace(assignment, task=check.task, inputs=check.inputs)
            found = await self._verifier.check(of_task, files, check.text)
            if found.fault:
                command = shorten(check.task.verify, COMMAND_SIZE_MAX)
                whose = f"the check of task {check.task.id!r} ({command})"
                return replace(found, fault=f"{whose}: {found.fault}")
        return Finding()

    def _settle(self, run: _Invocation) -> None:
        """A task that is cancelled before its first step never gets to report its own end."""
        if self._running.get(run.number) is run:
            self._fail(run, Failure.ABORTED, run.abort_reason or "cancelled")

    def _fail(self, run: _Invocation, reason: Failure, detail: str) -> None:
        self._running.pop(run.number, None)
        self._tell_person(run, AgentError(reason, detail))
        self._deliver(
            AgentFailed(run.number, reason, legible(detail), run.progress.files, run.progress.usage)
        )

    def _tell_person(self, run: _Invocation, fault: AgentError | None) -> None:
        """What has become of an answer, to whom it came from."""
        if run.assignment.task.asks_person:
            self._agents.people.ended(run.assignment, fault)


def _check_files(writes: tuple[str, ...], files: tuple[File, ...]) -> None:
    """Whatever the agent says: exactly the files that were asked for, within the limits."""
    paths = sorted(file.path for file in files)
    if paths != sorted(writes):
        raise AgentError(
            Failure.OUTPUT,
            f"the agent gave {', '.join(paths) or 'no files'}, wanted {', '.join(sorted(writes))}",
        )
    for file in files:
        if len(file.content) > FILE_SIZE_MAX:
            raise AgentError(
                Failure.OUTPUT, f"{file.path} is over the limit of {FILE_SIZE_MAX} bytes"
            )
    if sum(len(file.content) for file in files) > RESULT_SIZE_MAX:
        raise AgentError(Failure.OUTPUT, f"the files are over {RESULT_SIZE_MAX} bytes together")


def _one_line(fault: BaseException) -> str:
    return shorten(" ".join(f"{type(fault).__name__}: {fault}".split()))
