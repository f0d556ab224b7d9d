"""Checking a result: the task's `verify` command in a copy of its own.

Invariant: the folder holds exactly the job's files, the accepted inputs and the result, whatever
the agent left elsewhere; the exit status alone decides; the check ends within its time limit, and
nothing of it is left afterwards.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from pathlib import Path

from node.agents.process import Ended, environment_without_secrets, run_process
from node.agents.scratch import scratch_folder
from node.prompt import DETAIL_SIZE_MAX
from protocol.effects import Assignment
from protocol.jobs import File

VERIFY_TIMEOUT_S = 60.0
VERIFICATIONS_MAX = 2  # at once: checks use the processor, agents mostly wait
OUTPUT_SIZE_MAX = 1024 * 1024
COMMAND_NOT_FOUND = 127  # POSIX shell, section 2.8.2


class Verifier:
    """Runs checks in folders below `scratch`, a few at a time."""

    def __init__(self, scratch: Path, timeout_s: float = VERIFY_TIMEOUT_S) -> None:
        self._scratch = scratch
        self._timeout_s = timeout_s
        self._turns = asyncio.Semaphore(VERIFICATIONS_MAX)

    async def check(self, assignment: Assignment, files: tuple[File, ...], text: str = "") -> str:
        """Empty if the result passes, else why not. A text is given on standard input."""
        command = command_of(assignment)
        if not command.strip():
            return ""
        everything = (*assignment.fixtures, *assignment.inputs, *files)
        async with self._turns, scratch_folder(self._scratch, everything) as folder:
            try:
                async with asyncio.timeout(self._timeout_s):
                    ended = await run_process(
                        command, folder, _environment(), text.encode(), OUTPUT_SIZE_MAX
                    )
            except TimeoutError:
                return f"the check did not end within {self._timeout_s:g} s: {command}"
        return _verdict(command, ended)


def command_of(assignment: Assignment) -> str:
    """The shell line, with `{python}` and `{id}` filled in."""
    task = assignment.task
    return task.verify.replace("{python}", shlex.quote(sys.executable)).replace("{id}", task.id)


def _verdict(command: str, ended: Ended) -> str:
    if ended.overflowed:
        return f"the check printed over {OUTPUT_SIZE_MAX} bytes and was stopped: {command}"
    if ended.code == 0:
        return ""
    said = ended.last_lines(DETAIL_SIZE_MAX - 500)
    if ended.code == COMMAND_NOT_FOUND:
        return f"the check's command was not found: install it or correct 'verify' ({said})"
    if ended.code < 0:
        return f"the check was killed by signal {-ended.code}: {command}\n{said}".rstrip()
    if not said:
        return f"the check said no without a word (exit {ended.code}): {command}"
    return said


def _environment() -> dict[str, str]:
    """Model-written code runs here, so no credentials; and nothing but files of the result."""
    environment = environment_without_secrets(os.environ)
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    return environment
