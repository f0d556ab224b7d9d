"""Job files: our YAML, the paper's JSON unchanged, and the packaged lists by name.

Invariant: whatever is wrong with a file is one `InvalidJob` whose line names the file, the place
and the remedy; nothing is started on a file that has not been read to its end.

The paper's format (arXiv 2603.12229, public code) is an object with `project`, `description` and
`tasks`, each with `id`, `title`, `description`, `dependencies` and `files`.
"""

from __future__ import annotations

import json
import re
import secrets
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from node import lists
from protocol.errors import InvalidJob
from protocol.jobs import (
    FIXTURES_SIZE_MAX,
    Budget,
    ClaimMode,
    File,
    Job,
    Quorum,
    Task,
    validate,
)

JOB_FILE_SIZE_MAX = 4 * 1024 * 1024
FIXTURE_FILES_MAX = 2_000
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}


def _seconds(value: object) -> object:
    """'90s', '10m', '1.5h' or a number of seconds."""
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip())
        if match is None:
            raise ValueError(f"{value!r} is no duration: write for instance 90s, 10m or 1h")
        return float(match[1]) * _UNITS[match[2]]
    return value


Seconds = Annotated[float, BeforeValidator(_seconds)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Quorum(_Strict):
    of: int
    agree: int


class _Budget(_Strict):
    usd: float = Field(default=0.0, ge=0.0)
    tokens: int = Field(default=0, ge=0)
    wall: Seconds = Field(default=0.0, ge=0.0)


class _Speculate(_Strict):
    clones: int = Field(default=0, ge=0)
    after: str = "p90"


class _TaskOptions(_Strict):
    agent: str | None = None
    run: str | None = None
    verify: str | None = None
    quorum: int | _Quorum | None = None
    timeout: Seconds | None = None
    attempts: int | None = None


class _Task(_TaskOptions):
    id: str
    prompt: str = ""
    title: str = ""
    needs: list[str] = Field(default_factory=list)
    writes: list[str] = Field(default_factory=list)


class _Job(_Strict):
    job: str
    description: str = ""
    claims: Literal["lease", "raft", "assigned", "leader"] = "lease"
    budget: _Budget = Field(default_factory=_Budget)
    speculate: _Speculate = Field(default_factory=_Speculate)
    defaults: _TaskOptions = Field(default_factory=_TaskOptions)
    files: list[str] = Field(default_factory=list)
    tasks: list[_Task]


def read(source: str, agent: str) -> Job:
    """The job of a packaged list's name, a YAML file or a JSON file of the paper's form. `agent`
    does the tasks that name none. The id is the job's name; see `with_fresh_id`."""
    path = Path(source)
    if source in lists.names():
        return _with_agent(lists.load(source), agent)
    if not path.suffix and not path.exists():
        known = ", ".join(lists.names())
        raise InvalidJob(f"there is no job file or packaged list {source!r}: lists are {known}")
    if not path.is_file():
        raise InvalidJob(f"there is no job file {source!r}: give the path of a .yaml or .json file")
    if path.stat().st_size > JOB_FILE_SIZE_MAX:
        raise InvalidJob(f"{source} is over {JOB_FILE_SIZE_MAX} bytes: split the job")
    return parse(_text_of(path), path.name, path.parent, agent)


def parse(text: str, name: str, folder: Path, agent: str) -> Job:
    """The job in `text`, found in a file called `name`; its tests and data lie in `folder`."""
    content = _load(text, name)
    if not isinstance(content, dict):
        raise InvalidJob(f"{name}: expected a mapping with 'job:' and 'tasks:' at the top")
    if "project" in content:
        job = _with_agent(_from_paper(content, name), agent)
    else:
        job = _from_ours(content, name, folder, agent)
    try:
        validate(job)
    except InvalidJob as fault:
        raise InvalidJob(f"{name}: {fault}") from None
    return job


def with_fresh_id(job: Job, claims: ClaimMode | None = None) -> Job:
    """The same job under an id that no other run has, and another claim mode if one is given."""
    return replace(job, id=f"{job.name}-{secrets.token_hex(3)}", claims=claims or job.claims)


def _with_agent(job: Job, agent: str) -> Job:
    return replace(job, tasks=tuple(replace(task, agent=agent) for task in job.tasks))


def notes_on(job: Job) -> list[str]:
    """What a user should know before it runs, beside `protocol.jobs.warnings_of`."""
    real = [task.id for task in job.tasks if task.agent == "openai"]
    if job.budget.usd and not real:
        return ["budget.usd has no effect: simulated and local agents cost no money"]
    return []


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as fault:
        raise InvalidJob(
            f"{path.name} is not UTF-8 text (byte {fault.start}): save it so"
        ) from None
    except OSError as fault:
        raise InvalidJob(f"{path} cannot be read: {fault.strerror}") from None


def _load(text: str, name: str) -> Any:
    try:
        if name.endswith(".json"):
            return json.loads(text)
        return yaml.safe_load(text)
    except json.JSONDecodeError as fault:
        raise InvalidJob(f"{name}, line {fault.lineno}: not JSON: {fault.msg}") from None
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        lines = text.splitlines()
        at = min(mark.line, len(lines) - 1) if mark else 0  # the end of the text counts as its last
        raise InvalidJob(
            f"{name}, line {at + 1}: not YAML: {fault.problem}: {lines[at].strip()!r}"
        ) from None
    except (yaml.YAMLError, RecursionError) as fault:
        raise InvalidJob(f"{name}: not YAML: {fault}".replace("\n", " ")) from None


# -- our form ------------------------------------------------------------------------------------


def _from_ours(content: Mapping[str, Any], name: str, folder: Path, agent: str) -> Job:
    try:
        form = _Job.model_validate(content)
    except ValidationError as fault:
        raise InvalidJob(f"{name}: {_first_fault(fault, content)}") from None
    tasks = tuple(_task(task, form.defaults, agent) for task in form.tasks)
    if form.budget.usd and any(task.agent == "openai" for task in tasks):
        raise InvalidJob(
            f"{name}: budget.usd cannot be kept yet for a real model: give budget.tokens instead"
        )
    if form.speculate.clones:
        raise InvalidJob(f"{name}: speculate.clones is not available yet: set it to 0 or drop it")
    return Job(
        id=form.job,
        name=form.job,
        description=form.description,
        claims=ClaimMode(form.claims),
        tasks=tasks,
        files=_fixtures(form, tasks, folder),
        budget=Budget(form.budget.tokens, form.budget.usd, form.budget.wall),
    )


def _task(form: _Task, defaults: _TaskOptions, agent: str) -> Task:
    def option(name: str, otherwise: Any) -> Any:
        own = getattr(form, name)
        shared = getattr(defaults, name)
        return own if own is not None else shared if shared is not None else otherwise

    quorum = option("quorum", 1)
    if isinstance(quorum, int):
        quorum = _Quorum(of=quorum, agree=quorum // 2 + 1)
    return Task(
        id=form.id,
        title=form.title,
        prompt=form.prompt,
        needs=tuple(form.needs),
        writes=tuple(form.writes),
        agent=option("agent", agent),
        program=option("run", "").replace("{id}", form.id),
        verify=option("verify", "").replace("{id}", form.id),
        attempts_max=option("attempts", 5),
        timeout_s=option("timeout", 300.0),
        quorum=Quorum(quorum.of, quorum.agree),
    )


def _first_fault(fault: ValidationError, content: Mapping[str, Any]) -> str:
    """One line for the first error, with the task's id where it lies in one."""
    error = fault.errors()[0]
    where = list(error["loc"])
    place = ".".join(str(part) for part in where if not str(part).startswith("_"))
    if len(where) >= 2 and where[0] == "tasks" and isinstance(where[1], int):
        task = content["tasks"][where[1]]
        named = isinstance(task, dict) and "id" in task
        label = repr(task["id"]) if named else f"number {where[1] + 1}"
        place = f"task {label}" + "".join(f", {part}" for part in where[2:])
    if error["type"] == "extra_forbidden":
        return f"unknown key {where[-1]!r} at {place}: remove it or correct its spelling"
    if error["type"] == "missing":
        return f"{place} is missing: add it"
    message = error["msg"].removeprefix("Value error, ")
    return f"{place}: {message}"


def _fixtures(form: _Job, tasks: Iterable[Task], folder: Path) -> tuple[File, ...]:
    """The files that travel with the job: what `files:` lists, and whatever a verify or run line
    names that lies beside the job file."""
    wanted: dict[str, Path] = {}
    for pattern in form.files:
        found = sorted(folder.glob(pattern)) if not Path(pattern).is_absolute() else []
        if not found:
            raise InvalidJob(f"files: nothing beside the job file matches {pattern!r}")
        for path in found:
            _add_fixture(wanted, path, folder)
    for task in tasks:
        for line in (task.verify, task.program):
            for word in _words(line):
                path = folder / word
                if word and not Path(word).is_absolute() and ".." not in Path(word).parts:
                    _add_fixture(wanted, path, folder)
    size = sum(path.stat().st_size for path in wanted.values())
    if len(wanted) > FIXTURE_FILES_MAX or size > FIXTURES_SIZE_MAX:
        raise InvalidJob(
            f"{len(wanted)} files of {size} bytes would travel with the job, the limits are "
            f"{FIXTURE_FILES_MAX} and {FIXTURES_SIZE_MAX}: list fewer under 'files:'"
        )
    return tuple(File(name, path.read_bytes()) for name, path in sorted(wanted.items()))


def _add_fixture(wanted: dict[str, Path], path: Path, folder: Path) -> None:
    root = folder.resolve()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if (
            file.is_file()
            and file.resolve().is_relative_to(root)
            and "__pycache__" not in str(file)
        ):
            wanted[file.relative_to(folder).as_posix()] = file


def _words(line: str) -> list[str]:
    try:
        return [word for word in shlex.split(line) if "." in word or "/" in word]
    except ValueError:
        return []  # unbalanced quotes: the shell will say so


# -- the paper's form ------------------------------------------------------------------------------


class _PaperTask(BaseModel):
    id: str
    title: str = ""
    description: str
    dependencies: list[str] = Field(default_factory=list)
    files: list[str] = Field(default_factory=list)


class _PaperJob(BaseModel):
    project: str
    description: str = ""
    tasks: list[_PaperTask]


def _from_paper(content: Mapping[str, Any], name: str) -> Job:
    try:
        form = _PaperJob.model_validate(content)
    except ValidationError as fault:
        raise InvalidJob(f"{name}: {_first_fault(fault, content)}") from None
    needs = {task.id: tuple(task.dependencies) for task in form.tasks}
    writes = {task.id: tuple(task.files) for task in form.tasks}
    checked = {
        task.id
        for task in form.tasks
        if all(lists.asks_for(path, task.description) for path in task.files)
    }
    check = lists.checks_for(needs, writes, checked)
    stem = Path(name).stem
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
