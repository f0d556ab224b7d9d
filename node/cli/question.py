"""A question as a job: one task without files, answered by several nodes, settled by majority."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Any

from node.agents.backends import check_backends, default_agent
from node.cli.console import token
from node.lab.door import Door, DoorError, ask_first
from protocol.errors import InvalidJob
from protocol.jobs import SLOTS_MAX, Job, Quorum, Task, validate

ANSWER_TIMEOUT_S = 600.0
_LOOK_S = 0.1


def question_job(question: str, answers: int, agent: str) -> Job:
    """`answers` independent answers; the one that a majority of them gives is accepted."""
    if not question.strip():
        raise InvalidJob("the question is empty: write one")
    if not 1 <= answers <= SLOTS_MAX:
        raise InvalidJob(f"-k must be 1 to {SLOTS_MAX}")
    task = Task(
        id="answer",
        title=question[:80],
        prompt=question,
        agent=agent or default_agent(),
        quorum=Quorum(answers, answers // 2 + 1),
    )
    job = Job(id=f"ask-{secrets.token_hex(4)}", name="ask", tasks=(task,))
    validate(job)
    check_backends(job)
    return job


async def ask_running_team(doors: list[str], job: Job) -> dict[str, Any]:
    """Submit to a team that runs, and wait."""
    async with Door(doors[0], token()) as door:
        await door.submit(job)
    deadline = time.monotonic() + ANSWER_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            view: dict[str, Any] = await ask_first(doors, f"/v1/jobs/{job.id}", token())
        except DoorError as fault:
            if fault.kind != "NotFound":
                raise
        else:
            if view["finished"]:
                return view
        await asyncio.sleep(_LOOK_S)
    raise DoorError("TimedOut", f"no answer within {ANSWER_TIMEOUT_S:.0f} s; the team goes on")


async def ask_team_of_its_own(job: Job, nodes: int) -> dict[str, Any]:
    """Start a team for this question, and stop it."""
    from node.lab.run_job import RunOptions, run_job

    outcome = await run_job(job, RunOptions(nodes=nodes))
    return {"tasks": outcome.tasks, "finished": True, "succeeded": outcome.succeeded}
