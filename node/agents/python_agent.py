"""The agent that is a Python function, `module:function`, run in a worker process.

Invariant: the function cannot harm the node: it runs in a process and a session of its own, is
killed with its attempt, and speaks to the node in one JSON object only (`worker.py`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from node.agents import AgentError, AgentResult, Progress
from node.agents.command_agent import assemble, program_environment, run_in_workspace
from node.agents.process import Ended, Said
from node.legible import legible
from node.prompt.opening import program_prompt
from node.prompt.shown import LAST_WORDS_SIZE_MAX, shorten
from protocol.effects import Assignment
from protocol.events import Failure
from protocol.jobs import FILE_SIZE_MAX, RESULT_SIZE_MAX, File

OUTPUT_SIZE_MAX = 8 * RESULT_SIZE_MAX  # JSON may write one byte as six
_WORKER = Path(__file__).with_name("worker.py")


class PythonAgent:
    """Calls `task.program` with the prompt and the workspace. `variables` names what the process
    gets of the node's environment beyond the usual."""

    def __init__(self, variables: Collection[str] = ()) -> None:
        self._variables = variables

    async def prepare(self) -> None:
        """Nothing to do: each attempt starts a process of its own."""

    async def run(self, assignment: Assignment, workspace: Path, progress: Progress) -> AgentResult:
        """Call the function; its files are those it returns and those it wrote."""
        call = {
            "function": assignment.task.program,
            "prompt": program_prompt(assignment),
            "workspace": str(workspace),
        }
        said = Said(error_name="standard output and standard error together")
        try:
            made = await run_in_workspace(
                (sys.executable, "-P", str(_WORKER)),
                assignment,
                workspace,
                progress,
                program_environment(assignment, self._variables),
                OUTPUT_SIZE_MAX,
                said,
                json.dumps(call).encode(),
            )
        finally:  # what a function prints goes to standard error
            progress.find_out(said.error_tail.decode(errors="replace"))
        returned = _read_end(made.ended)
        if isinstance(returned, dict):
            files = _returned_files(assignment, returned, made.files)
            return assemble(assignment, replace(made, files=files), b"")
        return assemble(assignment, made, returned.encode())

    async def close(self) -> None:
        """Nothing is kept between invocations."""


def _read_end(ended: Ended) -> str | dict[str, str]:
    """What the function returned; AgentError if it raised or the worker died."""
    said = ended.last_lines()
    if ended.fate:
        how = f"the worker {ended.fate}"
        raise AgentError(Failure.AGENT, how if ended.excess else f"{how}: {said}")
    try:
        answer = json.loads(ended.output)
    except ValueError:
        raise AgentError(Failure.AGENT, f"the worker gave no answer: {said}") from None
    if not isinstance(answer, dict):
        raise AgentError(Failure.AGENT, f"the worker gave no answer: {said}")
    if "error" in answer:
        raise AgentError(Failure.AGENT, shorten(legible(str(answer["error"])), LAST_WORDS_SIZE_MAX))
    returned = answer.get("returned")
    if isinstance(returned, dict):
        return {legible(str(path)): legible(str(content)) for path, content in returned.items()}
    return legible(str(returned or ""))


def _returned_files(
    assignment: Assignment, returned: dict[str, str], written: tuple[File, ...]
) -> tuple[File, ...]:
    """Returned files before written ones; AgentError for a path that the task does not write."""
    strange = sorted(set(returned) - set(assignment.task.writes))
    if strange:
        raise AgentError(
            Failure.OUTPUT,
            f"the function returned {', '.join(strange)}, which the task does not write: "
            "list it under 'writes'",
        )
    files = {file.path: file for file in written}
    for path, content in returned.items():
        encoded = content.encode()
        if len(encoded) > FILE_SIZE_MAX:
            raise AgentError(Failure.OUTPUT, f"{path} is over the limit of {FILE_SIZE_MAX} bytes")
        files[path] = File(path, encoded)
    if sum(len(file.content) for file in files.values()) > RESULT_SIZE_MAX:
        raise AgentError(Failure.OUTPUT, f"all files are over {RESULT_SIZE_MAX} bytes together")
    return tuple(files[path] for path in assignment.task.writes if path in files)
