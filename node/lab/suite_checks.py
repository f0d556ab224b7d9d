"""What the packaged lists' own tests say of answers that the simulated model gives.

Invariant: every verdict is that of a real check, run in a folder with exactly these files; each is
run once in this process, since the same content always comes to the same.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path

from node import lists
from node.agents.verify import Verifier
from node.model import book
from protocol.effects import Assignment
from protocol.jobs import File, Task, manifest


class SuiteChecks:
    """The verdicts so far, by the content that they are about."""

    def __init__(self) -> None:
        self._faults: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._faults)

    def fault(self, name: str, task: Task, inputs: Sequence[File], files: Sequence[File]) -> str:
        """Why a result of a task of this list does not pass; empty if it does."""
        there = (*inputs, *files)
        key = _key_of(name, task.verify, there)
        if key not in self._faults:
            self._faults[key] = asyncio.run(_run(name, task, there))
        return self._faults[key]

    def fault_of_whole(self, name: str, files: Sequence[File]) -> str:
        """Why not all tests of the list pass on its whole output; empty if they do."""
        job = lists.load(name)
        lacks = sorted({path for task in job.tasks for path in task.writes} - set(manifest(files)))
        if lacks:
            return f"there is no {lacks[0]}"
        every = " && ".join(task.verify for task in job.tasks)
        return self.fault(name, Task("whole", "", verify=every, verify_timeout_s=600.0), (), files)


def answers(task: Task) -> tuple[File, ...]:
    """The worked answers of a list's task."""
    return tuple(File(path, _worked(path, task.prompt)) for path in task.writes)


def wrong_answers(task: Task, seed: int) -> tuple[File, ...]:
    """The same with a known mistake in the first file."""
    path, *rest = task.writes
    wrong = book.wrong_answer(path, task.prompt, seed)
    assert wrong is not None, "there is a mistake for every function of the lists"
    right = (File(each, _worked(each, task.prompt)) for each in rest)
    return (File(path, wrong.encode()), *right)


def _worked(path: str, prompt: str) -> bytes:
    source = book.answer(path, prompt)
    assert source is not None, "the book has all functions of the lists"
    return source.encode()


def _key_of(name: str, verify: str, files: Sequence[File]) -> str:
    lines = [name, verify, *(f"{path} {checksum}" for path, checksum in manifest(files).items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


async def _run(name: str, task: Task, files: Sequence[File]) -> str:
    with tempfile.TemporaryDirectory(prefix="quorate-checks-") as folder:
        fixtures = lists.load(name).files
        assignment = Assignment(name, task, 0, 0, inputs=tuple(files), fixtures=fixtures)
        return (await Verifier(Path(folder)).check(assignment, ())).fault
