"""The packaged job lists: three suites of one-function tasks, each in three shapes.

Invariant: a list and its files are fully described by one YAML file per suite, in which every
function is described once; a shape only says which functions there are, in which order, and what
each needs. The graphs are those of arXiv 2603.12229: 20 tasks, a chain of 16 (p02), 10
(p05) or 2 (p09) and the rest on their own; p is the share of the work that can be done in parallel.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field

from node.lists.checks import checks_for
from protocol import graph
from protocol.errors import InvalidJob
from protocol.jobs import Job, Task

SUITES = ("mathutils", "salesdata", "svgutils")
SHAPES = ("p02", "p05", "p09")


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Function(_Form):
    signature: str
    prompt: str
    imports: tuple[str, ...] = ()
    data: str = ""


class _Suite(_Form):
    description: str
    functions: dict[str, _Function]
    lists: dict[str, dict[str, tuple[str, ...]]]
    data: dict[str, str] = Field(default_factory=dict)


def names() -> tuple[str, ...]:
    """The lists there are, such as mathutils_p05."""
    return tuple(f"{suite}_{shape}" for suite in SUITES for shape in SHAPES)


@lru_cache(maxsize=16)
def load(name: str) -> Job:
    """The job of a packaged list; its id is its name."""
    if name not in names():
        raise InvalidJob(f"there is no packaged list {name!r}: lists are {', '.join(names())}")
    suite_name, _, shape = name.rpartition("_")
    suite = _suite(suite_name)
    needs = suite.lists[shape]
    checks = checks_for(needs, {function: (f"{function}.py",) for function in needs}, needs)
    return Job(
        id=name,
        name=name,
        description=suite.description.strip(),
        tasks=tuple(
            Task(
                id=function,
                title=f"Write {function}",
                prompt=_prompt(suite, function, needed=_ancestors(needs, function)),
                needs=needed,
                writes=(f"{function}.py",),
                verify=checks.verify[function],
            )
            for function, needed in needs.items()
        ),
        files=checks.files,
    )


def asks_for(path: str, prompt: str) -> bool:
    """Whether a prompt asks for the very function that our lists have under this file name: it
    gives the same name and signature. A foreign `mean.py` may mean something else."""
    name = path.removesuffix(".py")
    for suite_name in SUITES:
        function = _suite(suite_name).functions.get(name)
        if function is not None:
            return f"{name}{function.signature}" in " ".join(prompt.split())
    return False


def _ancestors(needs: dict[str, tuple[str, ...]], function: str) -> frozenset[str]:
    return frozenset(graph.ancestors_of(needs, function))


@lru_cache(maxsize=len(SUITES))
def _suite(name: str) -> _Suite:
    text = Path(__file__).with_name(f"{name}.yaml").read_text(encoding="utf-8")
    return _Suite.model_validate(yaml.safe_load(text))


def _prompt(suite: _Suite, name: str, needed: frozenset[str]) -> str:
    """What the file is called, the signature, what it returns, and what else is in the file."""
    function = suite.functions[name]
    parts = [
        f"Write the file `{name}.py` with one function:",
        f"    def {name}{function.signature}:",
        f"What it returns: {function.prompt.strip()}",
    ]
    if function.imports:
        parts.append(_imports(function, needed))
    if function.data:
        parts.append(
            f"The file also defines this constant at module level, word for word:\n\n"
            f"{suite.data[function.data].strip()}"
        )
    parts.append("Give the function a docstring of one line.")
    return "\n\n".join(parts)


def _imports(function: _Function, needed: frozenset[str]) -> str:
    """Which functions to build on, and which of them somebody else may still be writing."""
    lines = ["Build on these functions, imported at the top of the file:", ""]
    lines += [f"    from {name} import {name}" for name in function.imports]
    unwritten = [f"`{name}.py`" for name in function.imports if name not in needed]
    if unwritten:
        are = "is another task" if len(unwritten) == 1 else "are other tasks"
        lines += [
            "",
            f"{', '.join(unwritten)} {are} of this job and may not exist yet: import all the "
            "same, and write your own file only.",
        ]
    return "\n".join(lines)
