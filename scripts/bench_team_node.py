"""A node whose `python` agent only waits, for `bench.py team`: the task's program is the time in
seconds. The arguments are those of `python -m node.process`.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from node import process
from node.agents import AgentResult, Progress
from node.agents.kinds import KINDS
from protocol.effects import Assignment


class Waiting:
    """An agent that costs its node nothing."""

    async def prepare(self) -> None:
        """There is nothing to prepare."""

    async def run(self, assignment: Assignment, workspace: Path, progress: Progress) -> AgentResult:
        await asyncio.sleep(float(assignment.task.program))
        return AgentResult((), "done")

    async def close(self) -> None:
        """There is nothing to release."""


if __name__ == "__main__":
    KINDS["python"] = lambda settings: Waiting()
    sys.exit(process.main())
