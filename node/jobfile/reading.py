"""From a name, or a text, to a job that can be run."""

from __future__ import annotations

import secrets
from dataclasses import replace
from pathlib import Path

from node import lists
from node.jobfile import document, forms
from node.jobfile.travelling import read_regular, travelling
from protocol.errors import InvalidJob
from protocol.job_rules import check_speculation, validate
from protocol.jobs import ID_LENGTH_MAX, ClaimMode, Job, Speculation, VerifyBy, shown

NAMED_MAX = 5  # tasks in a note
_FILE_SIZE_MAX = document.TEXT_SIZE_MAX  # a character has a byte or more


def read(source: str, agent: str) -> Job:
    """The job of a packaged list's name, a YAML file or a JSON file of the paper's form. `agent`
    does the tasks that name none. The id is the job's name; see `with_fresh_id`."""
    if source in lists.names():
        return _with_agent(lists.load(source), agent)
    path = Path(source)
    if not source.strip():
        raise InvalidJob(_missing(path, shown(source)))
    return parse(_text_of(path, source), path.name, path.parent, agent)


def parse(text: str, name: str, folder: Path, agent: str) -> Job:
    """The job in `text`, found in a file called `name`; its tests and data lie in `folder`."""
    label = name if name.isprintable() else shown(name)
    content = document.load(text, name, label)
    if not isinstance(content, dict):
        raise InvalidJob(f"{label}: expected a mapping with 'job:' and 'tasks:' at the top")
    try:
        if "project" in content:
            job = _with_agent(forms.from_paper(content, name), agent)
            validate(job)
        else:
            job, listed = forms.from_ours(content, agent)
            validate(job)  # before its lines are taken apart
            job = _with_files(job, listed, folder)
            validate(job)
    except InvalidJob as fault:
        raise InvalidJob(f"{label}: {fault}") from None
    return job


def with_fresh_id(
    job: Job, claims: ClaimMode | None = None, speculation: Speculation | None = None
) -> Job:
    """The same job under an id that no other run has, and with another claim mode or speculation if
    one is given."""
    mark = f"-{secrets.token_hex(3)}"
    name = job.name[: ID_LENGTH_MAX - len(mark)]
    return replace(
        job,
        id=name + mark,
        claims=claims or job.claims,
        speculation=speculation or job.speculation,
    )


def speculation(clones: int, after: str) -> Speculation:
    """What `speculate: {clones, after}` of a job file says; InvalidJob if it makes no sense."""
    found = forms.speculation_of(clones, after)
    check_speculation(found)
    return found


def with_id(job: Job, job_id: str) -> Job:
    """The same job under an id of somebody's choice; InvalidJob if it can be none."""
    chosen = replace(job, id=job_id)
    validate(chosen)
    return chosen


def notes_on(job: Job) -> list[str]:
    """What a user should know before it runs, beside `protocol.job_rules.warnings_of`."""
    notes = []
    if job.budget.usd and not any(task.agent == "openai" for task in job.tasks):
        notes.append("budget.usd has no effect: simulated and local agents cost no money")
    if asking := people_asked(job):
        notes.append(f"{asking}: 'quorate answer' lists what waits, and takes the answers")
    return notes


def people_asked(job: Job) -> str:
    """Which tasks of it ask people, in a few words; empty if none does."""
    asking = [task.id for task in job.tasks if task.asks_person]
    if len(asking) > NAMED_MAX:
        return f"{len(asking)} tasks ask people ({', '.join(asking[:NAMED_MAX])}, ...)"
    verb = "asks" if len(asking) == 1 else "ask"
    return f"{', '.join(asking)} {verb} people" if asking else ""


def needs_witness(job: Job) -> str:
    """The first task that a team of one node can never do, since another node has to run its check
    as well; empty if there is none."""
    return next((task.id for task in job.tasks if task.verify_by is VerifyBy.OTHER), "")


def _with_agent(job: Job, agent: str) -> Job:
    return replace(job, tasks=tuple(replace(task, agent=agent) for task in job.tasks))


def _with_files(job: Job, listed: list[str], folder: Path) -> Job:
    lines = [line for task in job.tasks for line in (task.verify, task.program)]
    lines += [job.merge_program, job.judge_program]
    made = {path for task in job.tasks for path in task.writes}
    return replace(job, files=travelling(listed, lines, made, folder))


def _text_of(path: Path, source: str) -> str:
    what = shown(source)
    try:
        content = read_regular(path, _FILE_SIZE_MAX)
    except (FileNotFoundError, NotADirectoryError):
        raise InvalidJob(_missing(path, what)) from None
    except IsADirectoryError:
        raise InvalidJob(f"{what} is a folder: give the job file in it") from None
    except (OSError, ValueError) as fault:  # ValueError: a name that no file can have
        reason = (isinstance(fault, OSError) and fault.strerror) or fault
        raise InvalidJob(
            f"{what} cannot be read ({reason}): give a .yaml or .json file that you may read"
        ) from None
    if len(content) > _FILE_SIZE_MAX:
        raise InvalidJob(f"{what} is over {_FILE_SIZE_MAX} bytes: split the job")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = content.count(b"\n", 0, fault.start) + 1
        raise InvalidJob(f"{what}, line {line}: not UTF-8 text: save it as UTF-8") from None


def _missing(path: Path, what: str) -> str:
    if path.suffix:
        return f"there is no job file {what}: give the path of a .yaml or .json file"
    return f"there is no job file or packaged list {what}: lists are {', '.join(lists.names())}"
