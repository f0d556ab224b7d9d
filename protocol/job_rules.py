"""What holds of every job that is taken on.

Invariant: a `Job` that passed `validate` can be run: ids are unique, every dependency exists,
there is no cycle, all its files can lie in one folder on any file system and none leaves it, its
text is Unicode, and every bound holds.

Every node applies the log with the Unicode tables of its own Python, and they differ: what a table
has to be asked about is checked once, where the job comes in, and never in the ledger.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import PurePosixPath

from protocol import graph
from protocol.conclusion import lowered
from protocol.errors import InvalidJob
from protocol.jobs import (
    AGENT_KINDS,
    ATTEMPTS_MAX,
    CLONES_MAX,
    FIXTURES_MAX,
    FIXTURES_SIZE_MAX,
    ID_LENGTH_MAX,
    JOB_SIZE_MAX,
    MODEL_KINDS,
    PATH_LENGTH_MAX,
    RESERVED_PATH,
    SLOTS_MAX,
    TASKS_MAX,
    TEXT_SIZE_MAX,
    TIMEOUT_MAX_S,
    TOKENS_MAX,
    USD_MAX,
    WALL_MAX_S,
    WEIGHT_MAX,
    WRITES_MAX,
    Budget,
    Compare,
    Job,
    Speculation,
    Task,
    VerifyBy,
    name_of_version,
    shared_paths,
    shown,
)

NAME_SIZE_MAX = 255  # bytes of a file's or folder's own name: what file systems take
WARNINGS_MAX = 20
WRITERS_NAMED_MAX = 12  # of one file, in a warning
BARE_TASK_SIZE_MAX = 96  # bytes of a task as it travels, but for its texts
# Controls, spaces but the plain one, marks without a width or that turn the text round, halves of
# characters, and what nobody has given a meaning.
_UNSEEN = re.compile(
    r"[\x00-\x1f\x7f-\xa0\xad\u061c\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000"
    r"\ud800-\uf8ff\ufeff\ufff0-\ufffb\ufffe\uffff\U000e0000-\U000e0fff\U000f0000-\U0010ffff]"
)
_ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")


def check_path(path: str) -> None:
    """Raise InvalidJob unless `path` is relative and stays inside the folder it is put in."""
    pure = PurePosixPath(path)
    fault = ""
    if not path or "\0" in path or "\\" in path or not _is_text(path):
        fault = "is not a file path"
    elif len(path) > PATH_LENGTH_MAX:
        fault = f"is longer than {PATH_LENGTH_MAX} characters"
    elif pure.is_absolute() or ".." in pure.parts:
        fault = "leaves the output folder"
    elif str(pure) != path or path == ".":
        fault = "is not in its plain form"
    elif _UNSEEN.search(path):
        fault = "holds a control character or an invisible one"
    elif any(len(part.encode()) > NAME_SIZE_MAX for part in pure.parts):
        fault = f"has a name of over {NAME_SIZE_MAX} bytes"
    if fault:
        raise InvalidJob(f"path {shown(path)} {fault}: use a plain relative path like 'src/add.py'")


def validate(job: Job) -> None:
    """Raise InvalidJob with one line for the first thing that makes `job` impossible to run."""
    validate_in_log(job)
    _check_names(job, _folded)


def validate_in_log(job: Job) -> None:
    """The same as far as every node must find the same, whatever its version of Python."""
    _check_id(job.id, "job id")
    if job.resumes:
        _check_id(job.resumes, "the id of the job to resume")
    _check_text(job.name, "the job's name")
    _check_text(job.description, "the job's description")
    _check_text(job.merge_program, "the program of 'merge'")
    _check_text(job.judge_program, "the program of 'judge'")
    _check_budget(job.budget)
    check_speculation(job.speculation)
    if not job.tasks:
        raise InvalidJob(f"job {shown(job.name)} has no tasks: give at least one under 'tasks:'")
    if len(job.tasks) > TASKS_MAX:
        raise InvalidJob(f"job has {len(job.tasks)} tasks, the limit is {TASKS_MAX}: split it")
    known: set[str] = set()
    for task in job.tasks:
        _check_id(task.id, "task id")
        if task.id in known:
            raise InvalidJob(f"task id {task.id!r} is used twice: give each task its own id")
        known.add(task.id)
    for task in job.tasks:
        _check_needs(task, known)
        _check_writes(task)
        _check_limits(task)
        _check_judge(task, job.judge_program)
        _check_agent(task)
    cycle = graph.find_cycle(job.needs)
    if cycle is not None:
        raise InvalidJob(f"tasks need each other in a cycle: {_chain(cycle)}; remove one need")
    _check_fixtures(job)
    _check_size(job)
    _check_names(job, lowered)


def warnings_of(job: Job) -> list[str]:
    """Things that run but probably are not meant: one file written by two unordered tasks."""
    shared = shared_paths(job)
    if not shared:
        return []
    place = {task: at for at, task in enumerate(graph.topological_order(job.needs))}
    ancestors = graph.ancestor_sets(job.needs)
    found = [
        f"tasks {_named(tasks)} write {path!r} without an order between them: "
        "their versions will be merged; add a need if one builds on the other"
        for path, tasks in shared.items()
        # In a chain each must come before the next; to compare neighbours is enough.
        if any(not ancestors[second] >> place[first] & 1 for first, second in pairwise(tasks))
    ]
    if len(found) > WARNINGS_MAX:
        return [*found[:WARNINGS_MAX], f"and {len(found) - WARNINGS_MAX} more of this kind"]
    return found


def _named(tasks: Sequence[str]) -> str:
    """Two or more tasks that do the same."""
    if len(tasks) == 2:
        return f"{tasks[0]!r} and {tasks[1]!r} both"
    left = len(tasks) - WRITERS_NAMED_MAX
    if left > 0:
        return f"{', '.join(map(repr, tasks[:WRITERS_NAMED_MAX]))} and {left} more all"
    return f"{', '.join(map(repr, tasks[:-1]))} and {tasks[-1]!r} all"


def _chain(tasks: list[str]) -> str:
    if len(tasks) > 12:
        tasks = [*tasks[:10], f"... {len(tasks) - 11} more ...", tasks[-1]]
    return " -> ".join(tasks)


def _check_id(text: str, what: str) -> None:
    if not 0 < len(text) <= ID_LENGTH_MAX or not set(text) <= _ID_CHARACTERS or text[0] in "-.":
        raise InvalidJob(
            f"{what} {shown(text)} must be 1 to {ID_LENGTH_MAX} letters, digits or any of '_-.', "
            "and not begin with '-' or '.': rename it"
        )


def _check_needs(task: Task, known: set[str]) -> None:
    seen: set[str] = set()
    for dependency in task.needs:
        if dependency not in known:
            raise InvalidJob(
                f"task {task.id!r} needs {shown(dependency)}, which is not a task here: "
                "add it or correct its spelling"
            )
        if dependency in seen:
            raise InvalidJob(f"task {task.id!r} needs {dependency!r} twice: name it once")
        seen.add(dependency)


def _check_writes(task: Task) -> None:
    if len(task.writes) > WRITES_MAX:
        raise InvalidJob(f"task {task.id!r} writes over {WRITES_MAX} files: split it")
    seen: set[str] = set()
    for path in task.writes:
        try:
            check_path(path)
        except InvalidJob as fault:
            raise InvalidJob(f"task {task.id!r}: {fault}") from None
        if path in seen:
            raise InvalidJob(f"task {task.id!r} writes {path!r} twice: name it once")
        seen.add(path)


def _check_limits(task: Task) -> None:
    for name in ("prompt", "title", "program", "verify"):
        _check_text(getattr(task, name), f"task {task.id!r}: {name}")
    if not 1 <= task.attempts_max <= ATTEMPTS_MAX:
        raise InvalidJob(f"task {task.id!r}: attempts must be 1 to {ATTEMPTS_MAX}")
    if not 0.0 < task.timeout_s <= TIMEOUT_MAX_S:
        raise InvalidJob(f"task {task.id!r}: timeout must be above 0 s and at most a day")
    if not 0.0 < task.verify_timeout_s <= TIMEOUT_MAX_S:
        raise InvalidJob(f"task {task.id!r}: verify_timeout must be above 0 s and at most a day")
    if not 0.0 < task.weight <= WEIGHT_MAX:  # what is not a number is neither
        raise InvalidJob(
            f"task {task.id!r}: weight must be above 0 and at most {WEIGHT_MAX:.0f}: it says how "
            "long the task takes beside the others (1 if left out)"
        )
    if not 0 <= task.number < SLOTS_MAX:
        raise InvalidJob(f"task {task.id!r}: number must be 0 to {SLOTS_MAX - 1}")
    if not 1 <= task.quorum.agree <= task.quorum.of <= SLOTS_MAX:
        raise InvalidJob(f"task {task.id!r}: quorum must hold 1 <= agree <= of <= {SLOTS_MAX}")
    if task.quorum.compare is Compare.TESTS and not task.verify.strip():
        raise InvalidJob(f"task {task.id!r}: quorum.compare: tests needs a 'verify' command")
    if task.verify_by is VerifyBy.OTHER and not task.verify.strip():
        raise InvalidJob(f"task {task.id!r}: verify_by: other needs a 'verify' command")


def _check_judge(task: Task, program: str) -> None:
    """Somebody must be there to say which answers agree."""
    is_judged = task.quorum.compare is Compare.JUDGE
    if is_judged and not program.strip() and task.agent not in MODEL_KINDS:
        raise InvalidJob(
            f"task {task.id!r}: quorum.compare: judge asks a model: use agent openai or simulated, "
            "or name a program for the whole job, judge: {run: 'sh judge.sh'}"
        )


def _check_agent(task: Task) -> None:
    if task.agent not in AGENT_KINDS:
        raise InvalidJob(
            f"task {task.id!r}: there is no agent {shown(task.agent)}: "
            f"use one of {', '.join(AGENT_KINDS)}"
        )
    if task.agent in ("command", "python") and not task.program.strip():
        example = (
            "run: 'wc -w *.txt'" if task.agent == "command" else "run: 'my_module:my_function'"
        )
        raise InvalidJob(
            f"task {task.id!r}: a {task.agent!r} agent needs a program, e.g. {example}"
        )
    if task.asks_person and not task.prompt.strip():
        raise InvalidJob(f"task {task.id!r}: a 'human' agent needs a prompt: what is asked of them")


def _check_budget(budget: Budget) -> None:
    for value, value_max, name in (
        (budget.tokens, TOKENS_MAX, "tokens"),
        (budget.usd, USD_MAX, "usd"),
        (budget.wall_s, WALL_MAX_S, "wall"),
    ):
        if not 0 <= value <= value_max:  # no number that is not a number is
            raise InvalidJob(
                f"budget.{name} must be above 0 and at most {value_max}, or left out: correct it"
            )


def check_speculation(speculation: Speculation) -> None:
    """Raise InvalidJob unless it holds its bounds."""
    if not 0 <= speculation.clones <= CLONES_MAX:
        raise InvalidJob(f"speculate.clones must be 0 (none) to {CLONES_MAX}: correct it")
    if not 0 <= speculation.percentile < 100:
        raise InvalidJob("speculate.after: a percentile is p0 (at once) to p99: correct it")
    if not 0.0 <= speculation.after_s <= TIMEOUT_MAX_S:
        raise InvalidJob("speculate.after: a time is 0 s to a day: correct it")


def _is_text(text: str) -> bool:
    """Whether it can be written as UTF-8: JSON can spell half a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_text(text: str, what: str) -> None:
    if not _is_text(text):
        raise InvalidJob(f"{what} is not Unicode text: it holds half of a character: remove it")
    if len(text.encode()) > TEXT_SIZE_MAX:
        raise InvalidJob(f"{what} is over {TEXT_SIZE_MAX} bytes: shorten it")


def _check_fixtures(job: Job) -> None:
    if len(job.files) > FIXTURES_MAX:
        raise InvalidJob(
            f"{len(job.files)} files travel with the job, the limit is {FIXTURES_MAX}: "
            "list fewer under 'files:'"
        )
    size = 0
    seen: set[str] = set()
    for file in job.files:
        try:
            check_path(file.path)
        except InvalidJob as fault:
            raise InvalidJob(f"files: {fault}") from None
        if file.path in seen:
            raise InvalidJob(f"files: {file.path!r} travels twice: give it once")
        seen.add(file.path)
        size += len(file.content)
    if size > FIXTURES_SIZE_MAX:
        raise InvalidJob(
            f"the job's files are {size} bytes together, the limit is {FIXTURES_SIZE_MAX}: "
            "list fewer under 'files:'"
        )


def _check_size(job: Job) -> None:
    """The wire adds at most three bytes to a text, five to a file, and a task has few numbers."""
    texts = (job.description, job.name, job.merge_program, job.judge_program)
    size = sum(len(text.encode()) for text in texts) + 500
    size += sum(len(file.content) + len(file.path.encode()) + 16 for file in job.files)
    for task in job.tasks:
        own = (task.id, task.prompt, task.title, task.program, task.verify)
        size += sum(len(text.encode()) + 3 for text in (*own, *task.needs, *task.writes))
        size += BARE_TASK_SIZE_MAX
    if size > JOB_SIZE_MAX:
        raise InvalidJob(
            f"the job is {size} bytes as a whole, the limit is {JOB_SIZE_MAX}: split it"
        )


def _check_names(job: Job, folded: Callable[[str], str]) -> None:
    """All files can lie in one folder: no name is a file here and a folder there, none is the
    manifest's, and none differs from another only in what some file systems fold (case, the form of
    accents), as far as `folded` knows it."""
    for task in job.tasks:
        for path in task.writes:
            if folded(path).split("/")[0] == RESERVED_PATH:
                raise InvalidJob(
                    f"task {task.id!r} writes {path!r}, but {RESERVED_PATH!r} is the manifest's "
                    "name in the output folder: rename it"
                )
    origin: dict[str, tuple[str, str]] = {}
    for path, owner in _paths_of(job):
        other, other_owner = origin.setdefault(folded(path), (path, owner))
        if other != path:
            raise InvalidJob(
                f"{owner} {path!r} and {other_owner} {other!r}: some machines take these names "
                "for one file; rename one"
            )
    for name, (path, owner) in origin.items():
        at = name.find("/")
        while at >= 0:
            if name[:at] in origin:
                other, other_owner = origin[name[:at]]
                raise InvalidJob(
                    f"{owner} {path!r} and {other_owner} {other!r}: one name cannot be both a file "
                    "and a folder; rename one"
                )
            at = name.find("/", at + 1)


def _paths_of(job: Job) -> Iterator[tuple[str, str]]:
    """Every path with who has it there."""
    for task in job.tasks:
        for path in task.writes:
            yield path, f"task {task.id!r} writes"
    for path, tasks in shared_paths(job).items():
        for name in tasks:
            yield name_of_version(path, name), f"the version of task {name!r} may become"
    for file in job.files:
        yield file.path, "files has"


def _folded(path: str) -> str:
    """Equal for names that some file system takes for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
