"""The agent that is any program: the task's prompt on standard input, the result in files or on
standard output, so that a shell script or the command line of a model is an agent.

Invariant: only files that the task writes are taken, and only those that the program made or
changed; when the attempt ends in whatever way, the program's whole process group is gone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from node.agents import AgentError, AgentResult, Progress
from node.agents.given import given_to_program, judged
from node.agents.leftover import as_remedy, left_behind
from node.agents.process import (
    COMMAND_NOT_FOUND,
    Ended,
    Said,
    environment_for_programs,
    run_process,
)
from node.agents.scratch import in_thread, lay_out
from node.agents.unfinished import Folder, lay_out_partial, shared_meanwhile
from protocol.effects import Assignment, Purpose
from protocol.events import Failure
from protocol.jobs import FILE_SIZE_MAX, RESULT_SIZE_MAX, File, Usage

OUTPUT_SIZE_MAX = 1024 * 1024
ANSWER_SIZE_MAX = 256 * 1024  # bytes of a text that is the result: it travels as one string
TALK_SIZE_MAX = 64 * 1024  # bytes of what a program says beside the files it writes
_CUT = "... "  # before the end of an output whose beginning was left out
_OF_JOB = {Purpose.MERGE: "'merge.run'", Purpose.JUDGE: "'judge.run'"}  # programs not of a task


class CommandAgent:
    """Runs `task.program` as a shell line in the workspace. `variables` names what programs get
    of the node's environment beyond the usual: a model's command line needs its key."""

    def __init__(self, variables: Collection[str] = ()) -> None:
        self._variables = variables

    async def prepare(self) -> None:
        """Nothing to do: each attempt starts a process of its own."""

    async def run(self, assignment: Assignment, workspace: Path, progress: Progress) -> AgentResult:
        """Run the program; its exit status must be 0."""
        said = Said()
        try:
            made = await run_in_workspace(
                assignment.task.program,
                assignment,
                workspace,
                progress,
                program_environment(assignment, self._variables),
                OUTPUT_SIZE_MAX,
                said,
            )
            self._check_end(made.ended, assignment.purpose)
            result = assemble(assignment, made, made.ended.output)
            is_judge = assignment.purpose is Purpose.JUDGE
            return judged(assignment, result.text) if is_judge else result
        except BaseException:  # no result and no file came of what it printed, were it aborted
            progress.find_out(said.output.decode(errors="replace"))
            raise

    async def close(self) -> None:
        """Nothing is kept between invocations."""

    def _check_end(self, ended: Ended, purpose: Purpose) -> None:
        said = ended.last_lines()
        if ended.code == COMMAND_NOT_FOUND:
            whose = _OF_JOB.get(purpose, "the task's program")
            raise AgentError(
                Failure.NO_PROGRAM,
                f"program not found (status 127): install it or correct {whose} ({said})",
            )
        if ended.fate:
            how = f"the program {ended.fate}"
            raise AgentError(Failure.AGENT, f"{how}: {said}" if said and not ended.excess else how)


@dataclass(frozen=True, slots=True)
class Made:
    """How a program ended, which of its task's files it made or changed, what is wrong with others,
    and which files it `left` behind that the task does not write."""

    ended: Ended
    files: tuple[File, ...]
    faults: tuple[str, ...] = ()
    left: str = ""


async def run_in_workspace(
    command: str | Sequence[str],
    assignment: Assignment,
    workspace: Path,
    progress: Progress,
    environment: Mapping[str, str],
    output_size_max: int,
    said: Said,
    stdin: bytes | None = None,
) -> Made:
    """Run a program among the job's files and the inputs, and see what it makes of them. Progress
    gets its files, and `said` what it printed, also when we are cancelled. Its standard input is
    what it is given in words, or else `stdin`."""
    found = given_to_program(assignment)
    given = {file.path: file for file in found.files}
    await in_thread(lay_out, workspace, given.values())
    await in_thread(lay_out_partial, workspace, found.partial)
    writes = () if assignment.purpose is Purpose.JUDGE else assignment.task.writes
    folder = Folder(workspace, writes, given)
    words = found.words.encode(errors="replace") if stdin is None else stdin
    variables = {**environment, **found.variables}
    progress.spend(Usage(calls=1))
    try:
        async with shared_meanwhile(folder.look, progress):
            ended = await run_process(
                command, workspace, variables, words, output_size_max, said=said
            )
    finally:
        end = await folder.read()
        progress.finish(end.files)
        progress.so_far((), end.keeps)
    left = await in_thread(left_behind, workspace, {*given, *writes})
    return Made(ended, end.files, end.faults, left)


def program_environment(assignment: Assignment, variables: Collection[str]) -> dict[str, str]:
    """What every program gets, the variables that the settings name, and the task's names."""
    return {
        **environment_for_programs(variables),
        "QUORATE_JOB": assignment.job,
        "QUORATE_TASK": assignment.task.id,
        # Which of several answers it is, or of several drafts of them.
        "QUORATE_SLOT": str(assignment.task.number + assignment.slot),
        "QUORATE_ATTEMPT": str(assignment.token),
    }


def assemble(assignment: Assignment, made: Made, output: bytes) -> AgentResult:
    """The result: all files the task writes; one that was not written is the output itself."""
    writes = () if assignment.purpose is Purpose.JUDGE else assignment.task.writes
    written = {file.path for file in made.files}
    missing = [path for path in writes if path not in written]
    remedy = f"; {as_remedy(made.left)}" if made.left else ""
    if made.faults:
        raise AgentError(Failure.OUTPUT, "; ".join(made.faults))
    if not writes:
        return AgentResult((), _answer_of(output, remedy), left=made.left)
    if len(writes) == 1 and missing and output.strip():
        if len(output) > FILE_SIZE_MAX:
            raise AgentError(
                Failure.OUTPUT, f"{missing[0]} would be over the limit of {FILE_SIZE_MAX} bytes"
            )
        talk = _talk_of(output, len(output))
        return AgentResult((File(missing[0], output),), talk, is_file=True, left=made.left)
    if missing:
        raise AgentError(Failure.OUTPUT, f"the program did not write {', '.join(missing)}{remedy}")
    talk = _talk_of(output, sum(len(file.content) for file in made.files))
    return AgentResult(made.files, talk, left=made.left)


def _answer_of(output: bytes, remedy: str) -> str:
    """The output as the result of a question; `remedy` if there may be another than to print."""
    text = output.decode(errors="replace").strip()
    if not text:
        raise AgentError(Failure.OUTPUT, f"no answer: print it to standard output{remedy}")
    if len(output) > ANSWER_SIZE_MAX:
        raise AgentError(
            Failure.OUTPUT,
            f"the answer is over the limit of {ANSWER_SIZE_MAX} bytes: let the task write a file",
        )
    return text


def _talk_of(output: bytes, files_size: int) -> str:
    """The output beside files: its end, and not more than the whole result has room for."""
    said = output.strip()
    size_max = min(TALK_SIZE_MAX, RESULT_SIZE_MAX - files_size)
    if len(said) <= size_max:
        text = said.decode(errors="replace")
        if len(text.encode()) <= size_max:
            return text
    # U+FFFD takes three bytes in the place of one: hence the second cut, after decoding.
    room = max(0, size_max - len(_CUT))
    tail = said[-room:].decode(errors="replace").encode()[-room:] if room else b""
    return _CUT + tail.decode(errors="ignore") if tail else ""
