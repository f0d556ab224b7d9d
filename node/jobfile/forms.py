"""What the two kinds of job file may say: ours, and the paper's (arXiv 2603.12229, public code).

The paper's is an object with `project`, `description` and `tasks`, each with `id`, `title`,
`description`, `dependencies` and `files`. Keys beyond these are its own business and passed over;
in ours an unknown key is a mistake.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    ValidationError,
)

from node import lists
from node.jobfile.repeating import items_of, repeated
from protocol.errors import InvalidJob
from protocol.jobs import (
    HUMAN,
    HUMAN_TIMEOUT_S,
    ID_LENGTH_MAX,
    TASKS_MAX,
    VERIFY_TIMEOUT_S,
    Budget,
    ClaimMode,
    Compare,
    Job,
    Quorum,
    Speculation,
    Task,
    VerifyBy,
    shown,
)

_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)\s*(ms|s|m|h)?")
_PERCENTILE = re.compile(r"p([0-9]{1,2})")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}
_ATTEMPTS = 5
_TIMEOUT_S = 300.0


def seconds_of(text: str) -> float:
    """'90s', '10m', '1.5h' or a number of seconds; ValueError for anything else."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{shown(text)} is no duration: write for instance 90s, 10m or 1h")
    return float(match[1]) * _UNITS[match[2]]


def _seconds(value: object) -> object:
    return seconds_of(value) if isinstance(value, str) else value


Seconds = Annotated[float, BeforeValidator(_seconds)]


# Of a list with many faults only the first is looked for: a million would take a minute.
Item = TypeVar("Item")
ListOf = Annotated[list[Item], FailFast()]


class _Form(BaseModel):
    """Text is text and a number a number: nothing is turned into the other."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _Ours(_Form):
    model_config = ConfigDict(extra="forbid")


class _Quorum(_Ours):
    of: int
    agree: int
    compare: Literal["exact", "normalised", "tests", "judge"] = "normalised"


def _quorum(value: object) -> object:
    """A number means a majority of so many."""
    if type(value) is int:
        return _Quorum(of=value, agree=value // 2 + 1)
    return value


def _limiting(value: float) -> float:
    """0 is how a `Budget` says that there is no limit, and who writes it here means the opposite.
    What is left out is not looked at."""
    if value <= 0:
        raise ValueError(
            f"{value:g} allows nothing: give more than 0, or leave it out for no limit"
        )
    return value


class _Budget(_Ours):
    usd: Annotated[float, AfterValidator(_limiting)] = 0.0
    tokens: Annotated[int, AfterValidator(_limiting)] = 0
    wall: Annotated[Seconds, AfterValidator(_limiting)] = 0.0


class _Speculate(_Ours):
    clones: int = 0
    after: str | float = "p90"


def _named(program: str) -> str:
    if not program.strip():
        raise ValueError("it is empty: name a program, or leave the key out")
    return program


class _Program(_Ours):
    run: Annotated[str, AfterValidator(_named)]


class _TaskOptions(_Ours):
    agent: str | None = None
    run: str | None = None
    verify: str | None = None
    verify_timeout: Seconds | None = None
    verify_by: Literal["self", "other"] | None = None
    quorum: Annotated[_Quorum | None, BeforeValidator(_quorum)] = None
    timeout: Seconds | None = None
    attempts: int | None = None


class _Task(_TaskOptions):
    id: str
    each: Annotated[ListOf[str], BeforeValidator(items_of)] = Field(default_factory=list)
    prompt: str = ""
    title: str = ""
    needs: ListOf[str] = Field(default_factory=list)
    writes: ListOf[str] = Field(default_factory=list)
    weight: float = 1.0


class _Job(_Ours):
    job: str
    description: str = ""
    claims: Literal["lease", "raft", "assigned", "leader"] = "lease"
    budget: _Budget = Field(default_factory=_Budget)
    speculate: _Speculate = Field(default_factory=_Speculate)
    defaults: _TaskOptions = Field(default_factory=_TaskOptions)
    files: ListOf[str] = Field(default_factory=list)
    merge: _Program | None = None
    judge: _Program | None = None
    tasks: ListOf[_Task]


class _PaperTask(_Form):
    id: str
    title: str = ""
    description: str
    dependencies: ListOf[str] = Field(default_factory=list)
    files: ListOf[str] = Field(default_factory=list)


class _PaperJob(_Form):
    project: str
    description: str = ""
    tasks: ListOf[_PaperTask]


Form = TypeVar("Form", bound=_Form)


def from_ours(content: Mapping[str, Any], agent: str) -> tuple[Job, list[str]]:
    """The job without its files, and what its `files:` lists; `agent` does tasks that name none."""
    form = _filled(_Job, content)
    _refuse_if_many(form.tasks)
    tasks = repeated([(_task(each, form.defaults, agent), each.each) for each in form.tasks])
    job = Job(
        id=form.job,
        name=form.job,
        description=form.description,
        claims=ClaimMode(form.claims),
        tasks=tasks,
        budget=Budget(form.budget.tokens, form.budget.usd, form.budget.wall),
        speculation=speculation_of(form.speculate.clones, form.speculate.after),
        merge_program=form.merge.run if form.merge else "",
        judge_program=form.judge.run if form.judge else "",
    )
    return job, form.files


def speculation_of(clones: int, after: str | float) -> Speculation:
    """`after` is a percentile of what attempts took, as in p90, or a time, as in 20s."""
    if isinstance(after, str) and (percentile := _PERCENTILE.fullmatch(after.strip())):
        return Speculation(clones, int(percentile[1]))
    try:
        after_s = _seconds(after)
    except ValueError:
        raise InvalidJob(
            f"speculate.after: {shown(after)} is neither a percentile like p90 (p0: at once) "
            "nor a duration like 20s: correct it"
        ) from None
    assert isinstance(after_s, int | float)
    return Speculation(clones, 0, float(after_s))


def from_paper(content: Mapping[str, Any], name: str) -> Job:
    """The job of a file called `name`, with our checks for the functions that we know."""
    form = _filled(_PaperJob, content)
    _refuse_if_many(form.tasks)
    needs = {task.id: tuple(task.dependencies) for task in form.tasks}
    writes = {task.id: tuple(task.files) for task in form.tasks}
    checked = {
        task.id
        for task in form.tasks
        if all(lists.asks_for(path, task.description) for path in task.files)
    }
    check = lists.checks_for(needs, writes, checked)
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(name).stem)[:ID_LENGTH_MAX].lstrip("-.") or "job"
    return Job(
        id=stem,
        name=stem,
        description=form.description,
        tasks=tuple(
            Task(
                id=task.id,
                title=task.title,
                prompt=task.description,
                needs=needs[task.id],
                writes=writes[task.id],
                verify=check.verify.get(task.id, ""),
            )
            for task in form.tasks
        ),
        files=check.files,
    )


def _refuse_if_many(tasks: Sequence[_Form]) -> None:
    if len(tasks) > TASKS_MAX:
        raise InvalidJob(f"job has {len(tasks)} tasks, the limit is {TASKS_MAX}: split it")


def _task(form: _Task, defaults: _TaskOptions, agent: str) -> Task:
    def option(name: str, otherwise: Any) -> Any:
        own = getattr(form, name)
        shared = getattr(defaults, name)
        return own if own is not None else shared if shared is not None else otherwise

    quorum = option("quorum", _Quorum(of=1, agree=1))
    agent = option("agent", agent)
    return Task(
        id=form.id,
        title=form.title,
        prompt=form.prompt,
        needs=tuple(form.needs),
        writes=tuple(form.writes),
        agent=agent,
        program=option("run", ""),
        verify=option("verify", ""),
        attempts_max=option("attempts", _ATTEMPTS),
        timeout_s=option("timeout", HUMAN_TIMEOUT_S if agent == HUMAN else _TIMEOUT_S),
        quorum=Quorum(quorum.of, quorum.agree, Compare(quorum.compare)),
        verify_by=VerifyBy(option("verify_by", "self")),
        weight=form.weight,
        verify_timeout_s=option("verify_timeout", VERIFY_TIMEOUT_S),
    )


# -- what is wrong with a form ---------------------------------------------------------------------


def _filled(form: type[Form], content: Mapping[str, Any]) -> Form:
    try:
        return form.model_validate(content)
    except ValidationError as fault:
        raise InvalidJob(_first_fault(fault, content)) from None


def _first_fault(fault: ValidationError, content: Mapping[str, Any]) -> str:
    """One line for the first error, with the task's id where it lies in one."""
    error = fault.errors(include_url=False)[0]
    where = error["loc"]
    match error["type"]:
        case "extra_forbidden" | "invalid_key":
            key, place = shown(where[-1]), _place(where[:-1], content)
            return f"unknown key {key} at {place}: remove it or correct its spelling"
        case "missing":
            return f"{_place(where, content)} is missing: add it"
        case "string_type":
            return f"{_place(where, content)}: must be text: put it in quotes"
        case "model_type":
            return f"{_place(where, content)}: it should be a mapping, written {{key: value}}"
        case "float_type" | "int_type" if isinstance(error["input"], str):
            kind = "number" if error["type"] == "float_type" else "integer"
            said = f"it should be a valid {kind}, not the text {shown(error['input'])}"
            return f"{_place(where, content)}: {said}"
        case _:
            message = error["msg"].removeprefix("Value error, ")
            return f"{_place(where, content)}: {message.replace('Input should', 'it should')}"


def _place(where: tuple[int | str, ...], content: Mapping[str, Any]) -> str:
    """Where in the file: 'task 'add', timeout' rather than 'tasks.3.timeout'."""
    names = [str(part) for part in where]
    if len(where) < 2 or where[0] != "tasks" or not isinstance(where[1], int):
        return ".".join(names) or "the top"
    task = content["tasks"][where[1]]
    is_named = isinstance(task, dict) and isinstance(task.get("id"), str)
    label = shown(task["id"]) if is_named else f"number {where[1] + 1}"
    return ", ".join((f"task {label}", *names[2:]))
