"""Checking a result: the task's `verify` command in a copy of its own.

Invariant: the folder holds exactly the job's files, the accepted inputs and the result, whatever
the agent left elsewhere; the exit status alone decides; the check ends within its time limit, and
nothing of it is left afterwards.

A check that this node has not got the program of is told apart: the shell that was to run it says
so in its own name, with status 127, and names a plain word of the check's own line that is neither
a file of the job nor to be found here. Where the same status comes from further down, from a script
that calls something, from `env` or `timeout`, or from a file that the line reads into its shell,
the result itself may be the cause (it may be that script): to whoever made it that is a no. Who
checks somebody else's work does not judge by it, nor by a status of 126 or by time that was up: its
own machine may be the cause as well.

What is checked may be code that nobody has read, and it may run in the very process whose exit
status decides: `import add` of a file that calls `os._exit(0)` is such a status. A check that must
not be fooled so runs the code in a child process, as the packaged checks do.
"""

from __future__ import annotations

import asyncio
import shlex
import shutil
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from node.agents.process import (
    COMMAND_NOT_EXECUTABLE,
    COMMAND_NOT_FOUND,
    SHELL,
    Ended,
    environment_for_programs,
    run_process,
)
from node.agents.scratch import scratch_folder
from node.prompt.shown import COMMAND_SIZE_MAX, shorten
from protocol.effects import Assignment
from protocol.events import Failure
from protocol.jobs import File

VERIFICATIONS_MAX = 2  # at once: checks use the processor, agents mostly wait
OUTPUT_SIZE_MAX = 1024 * 1024
_READ_INTO_THE_SHELL = (".", "source", "eval")  # what is said then may be any file's word
_SECRET_WORDS = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL")


@dataclass(frozen=True, slots=True)
class Finding:
    """Why a result does not pass, empty if it does. `reason` is VERIFY if the check said no, and
    NO_CHECK if this node has not got its program. It is TIMEOUT or AGENT where it came to no end
    that tells what is wrong: with the result, or with this node."""

    fault: str = ""
    reason: Failure = Failure.VERIFY


class Verifier:
    """Runs checks in folders below `scratch`, a few at a time. `variables` names what they get of
    the node's environment beyond the usual."""

    def __init__(self, scratch: Path, variables: Collection[str] = ()) -> None:
        self._scratch = scratch
        self._variables = without_secrets(variables)
        self._turns = asyncio.Semaphore(VERIFICATIONS_MAX)

    async def check(
        self, assignment: Assignment, files: tuple[File, ...], text: str = ""
    ) -> Finding:
        """What is found wrong with the result. A text is given on standard input."""
        command = command_of(assignment)
        timeout_s = assignment.task.verify_timeout_s
        if not command.strip():
            return Finding()
        everything = (*assignment.fixtures, *assignment.inputs, *files)
        variables = environment_for_programs(self._variables)
        async with self._turns, scratch_folder(self._scratch, everything) as folder:
            try:
                async with asyncio.timeout(timeout_s):
                    ended = await run_process(
                        command,
                        folder,
                        # only files of the result in there
                        {**variables, "PYTHONDONTWRITEBYTECODE": "1"},
                        text.encode(errors="replace"),
                        OUTPUT_SIZE_MAX,
                    )
            except TimeoutError:
                limit = f"its verify_timeout of {timeout_s:g} s"
                return Finding(f"the check did not end within {limit}: {command}", Failure.TIMEOUT)
        missing = _missing_program(command, ended)
        is_there = missing in (file.path for file in everything) or shutil.which(
            missing, path=variables.get("PATH")
        )
        return _finding(command, ended, bool(missing) and not is_there)


def without_secrets(names: Collection[str]) -> frozenset[str]:
    """Those that do not look like credentials: what is meant for an agent, a program that somebody
    chose, is not meant for code that a model wrote."""
    return frozenset(
        name for name in names if not any(word in name.upper() for word in _SECRET_WORDS)
    )


def command_of(assignment: Assignment) -> str:
    """The shell line, with `{python}` and `{id}` filled in."""
    task = assignment.task
    return task.verify.replace("{python}", shlex.quote(sys.executable)).replace("{id}", task.id)


def _finding(command: str, ended: Ended, is_missing: bool) -> Finding:
    """What the end of a check tells; `is_missing` if this node has not got its program."""
    said, command = ended.last_lines(), shorten(command, COMMAND_SIZE_MAX)
    if not ended.fate:
        return Finding()
    if is_missing:
        return Finding(
            "the check's command was not found (status 127): install it or correct 'verify' "
            f"({said})",
            Failure.NO_CHECK,
        )
    if ended.excess:
        return Finding(f"the check {ended.fate}: {command}")
    if ended.code == COMMAND_NOT_FOUND:
        what = "something that the check calls was not found (status 127)"
        return Finding(f"{what}: {command}\n{said}".rstrip(), Failure.AGENT)
    if not 0 < ended.code < COMMAND_NOT_EXECUTABLE:
        reason = Failure.AGENT if ended.code == COMMAND_NOT_EXECUTABLE else Failure.VERIFY
        return Finding(f"the check {ended.fate}: {command}\n{said}".rstrip(), reason)
    return Finding(said or f"the check said no without a word (exit {ended.code}): {command}")


def _missing_program(command: str, ended: Ended) -> str:
    """What the shell that was to run the check's own line says that it has not found, if it is a
    plain word of that line; empty if it is anything else."""
    last = ended.error_tail.decode(errors="replace").strip().rpartition("\n")[2]
    shell, *said = last.split(": ")  # /bin/sh: 1: NAME: not found
    if ended.code != COMMAND_NOT_FOUND or shell != SHELL or len(said) < 2:
        return ""
    name = said[-2]
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        words = set(lexer)
    except ValueError:  # a quotation without an end, as the shell allows in a here-document
        words = set(command.split())
    is_plain = name in words and "/" not in name
    return name if is_plain and words.isdisjoint(_READ_INTO_THE_SHELL) else ""
