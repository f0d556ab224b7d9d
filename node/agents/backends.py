"""Which model the tasks of a job will meet, looked at before anything starts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from node.agents.prices import prices_of, why_no_price
from node.agents.settings import OPENAI_URL
from node.model import book
from protocol.errors import InvalidJob
from protocol.jobs import Job, Task, shown

ENDPOINT = "set OPENAI_BASE_URL, OPENAI_API_KEY and OPENAI_MODEL"
REAL_MODEL = f"{ENDPOINT} and use agent: openai"


def default_agent(environment: Mapping[str, str] = os.environ) -> str:
    """The agent of tasks that name none: `openai` as soon as OPENAI_BASE_URL is set. A key alone
    changes nothing, so that nobody spends money without having said where."""
    return "openai" if environment.get("OPENAI_BASE_URL", "").strip() else "simulated"


def check_backends(job: Job, environment: Mapping[str, str] = os.environ) -> None:
    """Raise InvalidJob for the first task that nobody could do."""
    for task in job.tasks:
        fault = ""
        if task.agent == "simulated":
            fault = _fault_of_simulated(task)
        elif task.agent == "openai":
            fault = _fault_of_endpoint(environment)
            if not fault and job.budget.usd:
                fault = _fault_of_prices(environment)
        elif task.agent == "python":
            fault = _fault_of_function(task.program)
        if fault:
            raise InvalidJob(f"task {task.id!r} {fault}")


def _fault_of_simulated(task: Task) -> str:
    if task.writes:
        known = all(book.knows(path) for path in task.writes)
    else:
        known = book.answer_question(task.prompt) is not None
    return "" if known else f"is outside the simulated model's answer book: {REAL_MODEL}"


def _fault_of_function(program: str) -> str:
    """Whether it is written as a function is named; only a worker can tell whether it exists."""
    module, _, function = program.partition(":")
    names = (*module.split("."), *function.split("."))
    if all(name.isidentifier() for name in names):
        return ""
    return f"runs {shown(program)}, which names no function: write run: 'my_module:my_function'"


def _fault_of_endpoint(environment: Mapping[str, str]) -> str:
    """What is missing for a request. A server of one's own may want no key; OpenAI's does."""
    url, key, model = (
        environment.get(name, "").strip()
        for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "OPENAI_MODEL")
    )
    if not url and not key:
        return f"has no model to ask: {ENDPOINT}"
    url = url or OPENAI_URL
    host = _host_of(url)
    if not host:
        return f"has no model at {url!r}: OPENAI_BASE_URL must be like {OPENAI_URL}"
    if not key and host == _host_of(OPENAI_URL):
        return f"has no key to ask {url} with: set OPENAI_API_KEY"
    if not model:
        return f"has no model chosen: set OPENAI_MODEL to one that {url} has"
    return ""


def _fault_of_prices(environment: Mapping[str, str]) -> str:
    """A budget of money can be kept only where prices are known."""
    model = environment.get("OPENAI_MODEL", "").strip()
    url = environment.get("OPENAI_BASE_URL", "").strip() or OPENAI_URL
    is_known = prices_of(model, url, environment) is not None
    return "" if is_known else f"cannot be paid for: {why_no_price(model)}"


def _host_of(url: str) -> str:
    """Empty if this is no address that can be asked."""
    if any(character.isspace() or not character.isprintable() for character in url):
        return ""
    try:
        parts = urlsplit(url)
        is_web = parts.scheme in ("http", "https") and parts.port != 0
        return (parts.hostname or "") if is_web else ""
    except ValueError:  # such as brackets around what is no IPv6 address, or a port above 65535
        return ""
