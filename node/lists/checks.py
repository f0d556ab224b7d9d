"""Which test checks which file, and what must lie in the scratch folder for it.

Invariant: a file that follows its task passes its test in a folder that holds exactly the accepted
files of the task's needs, the file itself and what is listed here. Some tasks import a module that
they do not declare as a need, so it may not exist yet: a double stands in, a reference from the
answer book in a folder that is searched last, so that an accepted file always wins.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from node.model import book
from protocol import graph
from protocol.jobs import File

_FOLDER = Path(__file__).with_name("tests")
_SHARED = ("check.py", "expect.py")


@dataclass(frozen=True, slots=True)
class Checks:
    """`verify`: task -> shell line, for tasks whose files we have tests for; `files`: what these
    lines need in the scratch folder, sorted by path."""

    verify: dict[str, str]
    files: tuple[File, ...]


def checks_for(
    needs: Mapping[str, Collection[str]],
    writes: Mapping[str, Collection[str]],
    checked: Collection[str],
) -> Checks:
    """The checks of the tasks in `checked`, given what each task of the job needs and writes.

    The job may be anybody's: files that are not in the answer book get no test, and needs that
    name no task are left for `protocol.job_rules.validate` to report.
    """
    files: dict[str, Path] = {}
    doubles: set[str] = set()
    verify: dict[str, str] = {}
    for task, paths in writes.items():
        known = [path for path in paths if task in checked and book.knows(path)]
        if not known:
            continue
        verify[task] = " ".join(
            ["{python} tests/check.py", *(f"tests/test_{path}" for path in known)]
        )
        for path in known:
            files.update(_support(_folder_of(path)))
            files[f"test_{path}"] = _folder_of(path) / f"test_{path}"
        doubles |= _missing(known, _provided(task, needs, writes))
    if verify:
        files.update({name: _FOLDER / name for name in _SHARED})
    found = [File(f"tests/{name}", page.read_bytes()) for name, page in files.items()]
    for path in doubles:
        source = book.answer(path, "")
        assert source is not None, "only files of the book are missing"
        found.append(File(f"tests/doubles/{path}", source.encode()))
    return Checks(verify, tuple(sorted(found, key=lambda file: file.path)))


@lru_cache(maxsize=256)
def imports_of(path: str) -> frozenset[str]:
    """The files of the answer book that the worked answer for this one imports directly."""
    source = book.answer(path, "")
    assert source is not None, f"{path} is not in the book"
    modules: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
        elif isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
    return frozenset(path for module in modules if book.knows(path := f"{module}.py"))


def _provided(
    task: str, needs: Mapping[str, Collection[str]], writes: Mapping[str, Collection[str]]
) -> set[str]:
    """The files that are there when `task` is checked: its own and those of all it needs."""
    whole = {
        name: tuple(need for need in listed if need in needs) for name, listed in needs.items()
    }
    there = (task, *graph.ancestors_of(whole, task))
    return {path for name in there for path in writes.get(name, ())}


def _missing(known: Collection[str], provided: Collection[str]) -> set[str]:
    """What the answers import, directly or by way of doubles, beyond what is provided."""
    missing: set[str] = set()
    waiting = list(known)
    while waiting:
        for path in sorted(imports_of(waiting.pop()) - missing):
            if path not in provided:
                missing.add(path)
                waiting.append(path)
    return missing


def _folder_of(path: str) -> Path:
    suite = book.suite_of(path)
    assert suite is not None, f"{path} is not in the book"
    return _FOLDER / suite


def _support(folder: Path) -> dict[str, Path]:
    """What the tests of one suite share: every module there that is not a test itself."""
    return {page.name: page for page in folder.glob("*.py") if not page.name.startswith("test_")}
