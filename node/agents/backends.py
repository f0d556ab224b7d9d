"""Which model the tasks of a job will meet, looked at before anything starts."""

from __future__ import annotations

import os
from collections.abc import Mapping

from node.model import book
from protocol.errors import InvalidJob
from protocol.jobs import Job

REAL_MODEL = "set OPENAI_BASE_URL, OPENAI_API_KEY and OPENAI_MODEL and use agent: openai"


def default_agent(environment: Mapping[str, str] = os.environ) -> str:
    """The agent of tasks that name none: `openai` as soon as OPENAI_BASE_URL is set. A key alone
    changes nothing, so that nobody spends money without having said where."""
    return "openai" if environment.get("OPENAI_BASE_URL", "").strip() else "simulated"


def check_backends(job: Job, environment: Mapping[str, str] = os.environ) -> None:
    """Raise InvalidJob for the first task that nobody could do."""
    for task in job.tasks:
        if task.agent == "simulated":
            known = all(book.knows(path) for path in task.writes)
            if not task.writes:
                known = book.answer_question(task.prompt) is not None
            if not known:
                raise InvalidJob(
                    f"task {task.id!r} is outside the simulated model's answer book: {REAL_MODEL}"
                )
        elif task.agent == "openai" and not (
            environment.get("OPENAI_BASE_URL") or environment.get("OPENAI_API_KEY")
        ):
            raise InvalidJob(f"task {task.id!r} has no model to ask: {REAL_MODEL}")
