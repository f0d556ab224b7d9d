"""The agent that is a Python function, `module:function`, run in a worker process.

Invariant: the function cannot harm the node: it runs in a process and a session of its own, is
killed with its attempt, and speaks to the node in one JSON object only (`worker.py`).
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from node.agents import AgentError, AgentResult, Progress
from node.agents.command_agent import assemble, given_files, program_environment, written_files
from node.agents.process import Ended, run_process
from node.agents.scratch import in_thread, lay_out
from node.prompt import program_prompt
from protocol.effects import Assignment
from protocol.events import Failure
from protocol.jobs import FILE_SIZE_MAX, RESULT_SIZE_MAX, File, Usage

OUTPUT_SIZE_MAX = 8 * RESULT_SIZE_MAX  # JSON may write one byte as six
_SAID_SIZE_MAX = 1_500
_WORKER = Path(__file__).with_name("worker.py")


class PythonAgent:
    """Calls `task.program` with the prompt and the workspace."""

    async def prepare(self) -> None:
        """Nothing to do: each attempt starts a process of its own."""

    async def run(self, assignment: Assignment, workspace: Path, progress: Progress) -> AgentResult:
        """Call the function; its files are those it returns and those it wrote."""
        given = given_files(assignment)
        await in_thread(lay_out, workspace, given)
        progress.spend(Usage(calls=1))
        call = {
            "function": assignment.task.program,
            "prompt": program_prompt(assignment),
            "workspace": str(workspace),
        }
        try:
            ended = await run_process(
                (sys.executable, "-P", str(_WORKER)),
                workspace,
                program_environment(assignment),
                json.dumps(call).encode(),
                OUTPUT_SIZE_MAX,
            )
        except asyncio.CancelledError:
            progress.finish(written_files(assignment, workspace, given)[0])
            raise
        written, faults = await in_thread(written_files, assignment, workspace, given)
        progress.finish(written)
        returned = _read_end(ended)
        if isinstance(returned, dict):
            files = _returned_files(assignment, returned, written)
            return assemble(assignment, files, faults, "")
        return assemble(assignment, written, faults, returned)

    async def close(self) -> None:
        """Nothing is kept between invocations."""


def _read_end(ended: Ended) -> str | dict[str, str]:
    """What the function returned; AgentError if it raised or the worker died."""
    said = ended.last_lines(_SAID_SIZE_MAX)
    if ended.overflowed:
        raise AgentError(
            Failure.AGENT,
            f"the function returned over {OUTPUT_SIZE_MAX} bytes: write files instead",
        )
    if ended.code != 0:
        raise AgentError(Failure.AGENT, f"the worker ended with status {ended.code}: {said}")
    try:
        answer = json.loads(ended.output)
    except ValueError:
        raise AgentError(Failure.AGENT, f"the worker gave no answer: {said}") from None
    if not isinstance(answer, dict):
        raise AgentError(Failure.AGENT, f"the worker gave no answer: {said}")
    if "error" in answer:
        raise AgentError(Failure.AGENT, str(answer["error"]))
    returned = answer.get("returned")
    if isinstance(returned, dict):
        return {str(path): str(content) for path, content in returned.items()}
    return str(returned or "")


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
        encoded = content.encode(errors="replace")
        if len(encoded) > FILE_SIZE_MAX:
            raise AgentError(Failure.OUTPUT, f"{path} is over the limit of {FILE_SIZE_MAX} bytes")
        files[path] = File(path, encoded)
    if sum(len(file.content) for file in files.values()) > RESULT_SIZE_MAX:
        raise AgentError(Failure.OUTPUT, f"all files are over {RESULT_SIZE_MAX} bytes together")
    return tuple(files[path] for path in assignment.task.writes if path in files)
