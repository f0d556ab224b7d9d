"""Tasks that are alike: `each: 5` or `each: [red, green]` stands for one task for every item.

The task `shard` with `each: 2` becomes `shard-1` and `shard-2`, with the item in the place of
`{each}` in its texts. Who needs `shard` needs all of them; who needs `shard-{each}` and has `each`
itself needs its own counterpart. So a job maps and reduces without saying anything twice.

Invariant: what comes out holds no more than a job may, and is refused before it is made if it
would: a short text must not become a bomb.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from protocol.errors import InvalidJob
from protocol.jobs import ID_LENGTH_MAX, JOB_SIZE_MAX, TASKS_MAX, TEXT_SIZE_MAX, Task, shown

Items = Sequence[str]  # none: a task that stands for itself
Groups = Mapping[str, Sequence[str]]  # what a repeated task is called -> the ids of its tasks

_ID = "{id}"
_EACH = "{each}"
_PLACES = re.compile(r"\{id\}|\{each\}")


def items_of(value: object) -> object:
    """What `each` of a job file says, as a list; ValueError if it is none."""
    if type(value) is int:
        if not 1 <= value <= TASKS_MAX:
            raise ValueError(f"a number of tasks is 1 to {TASKS_MAX}")
        return [str(number) for number in range(1, value + 1)]
    if not isinstance(value, list) or not value:
        raise ValueError("it should be a number of tasks, or a list such as [red, green]")
    return value


def repeated(tasks: Sequence[tuple[Task, Items]]) -> tuple[Task, ...]:
    """The tasks of a job, with `{id}` and `{each}` filled in."""
    count = sum(len(items) or 1 for _, items in tasks)
    if count > TASKS_MAX:
        raise InvalidJob(f"job has {count} tasks, the limit is {TASKS_MAX}: split it")
    groups = _groups(tasks)
    found = []
    size = 0
    for template, items in tasks:
        for task in _alike(template, items, groups):
            texts = (task.program, task.verify, task.prompt, task.title, *task.writes, *task.needs)
            size += sum(map(len, texts))
            if size > JOB_SIZE_MAX:
                raise InvalidJob(
                    f"the texts of all tasks are over {JOB_SIZE_MAX} characters together: "
                    "shorten them"
                )
            found.append(task)
    return tuple(found)


def _groups(tasks: Sequence[tuple[Task, Items]]) -> Groups:
    given = Counter(task.id for task, _ in tasks)
    groups = {}
    for task, items in tasks:
        if not items:
            continue
        if given[task.id] > 1:  # 'needs' would be in doubt
            raise InvalidJob(f"task id {shown(task.id)} is used twice: give each task its own id")
        if len(task.id) > ID_LENGTH_MAX:
            raise InvalidJob(
                f"task id {shown(task.id)} is over {ID_LENGTH_MAX} characters: shorten it"
            )
        groups[task.id] = [f"{task.id}-{item}" for item in items]
    return groups


def _alike(template: Task, items: Items, groups: Groups) -> Iterator[Task]:
    if not items:
        yield _filled(template, {_ID: template.id}, groups)
        return
    for task_id, item in zip(groups[template.id], items, strict=True):
        task = replace(template, id=task_id)
        yield _filled(task, {_ID: task_id, _EACH: item}, groups)


def _filled(task: Task, values: Mapping[str, str], groups: Groups) -> Task:
    """`{id}` stands for itself but in command lines and paths, `{each}` where there is no item."""
    item = {place: value for place, value in values.items() if place == _EACH}

    def filled(key: str, text: str, values: Mapping[str, str] = item) -> str:
        size = len(text)
        size += sum(text.count(place) * (len(values[place]) - len(place)) for place in values)
        if size > TEXT_SIZE_MAX:
            raise InvalidJob(
                f"task {shown(task.id)}: {key} is over {TEXT_SIZE_MAX} characters: shorten it"
            )
        return _PLACES.sub(lambda found: values.get(found[0], found[0]), text)

    needs: list[str] = []
    for need in task.needs:
        needs += groups.get(need) or [filled("needs", need)]
        if len(needs) > TASKS_MAX:
            raise InvalidJob(f"task {shown(task.id)} needs over {TASKS_MAX} tasks: name each once")
    return replace(
        task,
        program=filled("run", task.program, values),
        verify=filled("verify", task.verify, values),
        title=filled("title", task.title),
        prompt=filled("prompt", task.prompt),
        writes=tuple(filled("writes", path, values) for path in task.writes),
        needs=tuple(needs),
    )
