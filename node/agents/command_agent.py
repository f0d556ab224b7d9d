"""The agent that is any program: the task's prompt on standard input, the result in files or on
standard output, so that a shell script or the command line of a model is an agent.

Invariant: only files that the task writes are taken, and only those that the program made or
changed; when the attempt ends in whatever way, the program's whole process group is gone.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path

from node.agents import AgentError, AgentResult, Progress
from node.agents.process import Ended, run_process
from node.agents.scratch import collect, in_thread, lay_out
from node.agents.verify import COMMAND_NOT_FOUND
from node.prompt import program_prompt
from protocol.effects import Assignment
from protocol.events import Failure
from protocol.jobs import FILE_SIZE_MAX, File, Usage

OUTPUT_SIZE_MAX = 1024 * 1024
_SAID_SIZE_MAX = 1_500  # bytes of a program's last words in a detail


class CommandAgent:
    """Runs `task.program` as a shell line in the workspace."""

    async def prepare(self) -> None:
        """Nothing to do: each attempt starts a process of its own."""

    async def run(self, assignment: Assignment, workspace: Path, progress: Progress) -> AgentResult:
        """Run the program; its exit status must be 0."""
        given = given_files(assignment)
        await in_thread(lay_out, workspace, given)
        progress.spend(Usage(calls=1))
        try:
            ended = await run_process(
                assignment.task.program,
                workspace,
                program_environment(assignment),
                program_prompt(assignment).encode(),
                OUTPUT_SIZE_MAX,
            )
        except asyncio.CancelledError:
            progress.finish(written_files(assignment, workspace, given)[0])
            raise
        files, faults = await in_thread(written_files, assignment, workspace, given)
        progress.finish(files)
        self._check_end(ended)
        return assemble(assignment, files, faults, ended.output.decode(errors="replace"))

    async def close(self) -> None:
        """Nothing is kept between invocations."""

    def _check_end(self, ended: Ended) -> None:
        said = ended.last_lines(_SAID_SIZE_MAX)
        if ended.overflowed:
            raise AgentError(
                Failure.AGENT,
                f"the program printed over {OUTPUT_SIZE_MAX} bytes and was stopped: "
                "let it write files instead",
            )
        if ended.code == COMMAND_NOT_FOUND:
            raise AgentError(
                Failure.AGENT,
                f"program not found: install it or correct the task's program ({said})",
            )
        if ended.code < 0:
            raise AgentError(
                Failure.AGENT, f"the program was killed by signal {-ended.code}: {said}"
            )
        if ended.code > 0:
            raise AgentError(Failure.AGENT, f"the program ended with status {ended.code}: {said}")


def given_files(assignment: Assignment) -> tuple[File, ...]:
    """What lies in a program's workspace when it starts: the job's files and the inputs."""
    laid = {file.path: file for file in (*assignment.fixtures, *assignment.inputs)}
    return tuple(laid.values())


def program_environment(assignment: Assignment) -> dict[str, str]:
    """The node's own environment (a model's command line needs its key) and the task's names."""
    return {
        **os.environ,
        "QUORATE_JOB": assignment.job,
        "QUORATE_TASK": assignment.task.id,
        "QUORATE_ATTEMPT": str(assignment.token),
    }


def written_files(
    assignment: Assignment, workspace: Path, given: Iterable[File]
) -> tuple[tuple[File, ...], tuple[str, ...]]:
    """(files, faults): the task's files that the program made or changed."""
    files, faults = collect(workspace, assignment.task.writes)
    unchanged = set(given)
    return tuple(file for file in files if file not in unchanged), faults


def assemble(
    assignment: Assignment, files: tuple[File, ...], faults: tuple[str, ...], text: str
) -> AgentResult:
    """The result: all files the task writes; one that was not written is the text itself."""
    writes = assignment.task.writes
    written = {file.path for file in files}
    missing = [path for path in writes if path not in written]
    if faults:
        raise AgentError(Failure.OUTPUT, "; ".join(faults))
    if not writes:
        if not text.strip():
            raise AgentError(Failure.OUTPUT, "no answer: print it to standard output")
        return AgentResult((), text.strip())
    if len(writes) == 1 and missing and text.strip():
        content = text.encode()
        if len(content) > FILE_SIZE_MAX:
            raise AgentError(
                Failure.OUTPUT, f"{missing[0]} would be over the limit of {FILE_SIZE_MAX} bytes"
            )
        return AgentResult((File(missing[0], content),), text)
    if missing:
        raise AgentError(Failure.OUTPUT, f"the program did not write {', '.join(missing)}")
    return AgentResult(files, text.strip())
