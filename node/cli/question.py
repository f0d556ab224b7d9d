"""A question as a job: one task without files, answered by several nodes, settled by majority."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

from node.agents.backends import check_backends, default_agent
from node.lab.door import DoorError, Doors
from protocol.errors import InvalidJob
from protocol.jobs import SLOTS_MAX, Job, Quorum, Task, validate

ANSWER_TIMEOUT_S = 600.0


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


async def ask_running_team(doors: Doors, job: Job) -> dict[str, Any]:
    """Submit to a team that runs, and wait."""
    await doors.submit(job)
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            return await doors.await_end(job.id)
    except TimeoutError:
        raise DoorError(
            "TimedOut", f"no answer within {ANSWER_TIMEOUT_S:.0f} s; the team goes on"
        ) from None


async def ask_team_of_its_own(job: Job, nodes: int) -> dict[str, Any]:
    """Start a team for this question, and stop it."""
    from node.lab.run_job import RunOptions, run_job

    outcome = await run_job(job, RunOptions(nodes=nodes))
    return {"tasks": outcome.tasks, "finished": True, "succeeded": outcome.succeeded}
