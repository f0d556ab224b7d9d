"""`quorate diff`: the versions of a file, who saw whose, and what became of them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from node.cli.console import (
    DEFAULT_DIR,
    DirOption,
    JsonOption,
    NodeOption,
    doors_of,
    execute,
    print_json,
    say,
)
from node.cli.job_verbs import view_of

REPLACED = "\ufffd"  # what a door shows for bytes that are no UTF-8
_LEFT_OUT = "left out: the versions are too large together"


def diff(
    path: Annotated[str, typer.Argument(help="The file, as a task of the job writes it.")],
    job: Annotated[str, typer.Option(help="A job's id; the latest with files if left out.")] = "",
    folder: DirOption = Path(DEFAULT_DIR),
    node: NodeOption = "",
    as_json: JsonOption = False,
) -> None:
    """The versions of a file: who wrote them, who saw whose, how they differ, what was merged."""
    from node.lab.door import route

    doors = doors_of(folder, node)
    view = view_of(doors, job, with_files=True)
    versions = execute(doors.get(route("jobs", view["id"], "versions", path)))
    if as_json:
        print_json(versions)
        return
    for line in story(versions):
        say(line)


def story(view: dict[str, Any]) -> Iterator[str]:
    """A paragraph for each version and merge, with what it changed."""
    path = view["path"]
    known = {version["task"]: version["content"] for version in view["accepted"]}
    for version in view["accepted"]:
        saw = version["saw"]
        built = f"built on {_all(saw)}" if saw else "built on what the job brought"
        yield f"{version['task']} by {version['name']}, accepted at {version['index']}, {built}"
        before = _merged(view, saw, known[saw[0]] if saw else view["base"])
        yield from _changes(path, before, version["content"], version["task"])
    helper = (
        "with the job's 'merge' program" if view.get("merge_program") else "with an agent's help"
    )
    for merge in view["merges"]:
        yield from _merge_lines(merge, helper)
    yield from _unfinished(path, view["partials"])
    contents = view["contents"]
    if path in contents:
        yield f"{path} is now {view['sizes'][path]} bytes"
    elif contents:
        yield f"{path} stands as {_all(sorted(contents))}"


def _merge_lines(merge: dict[str, Any], helper: str) -> Iterator[str]:
    """What was made of some versions, after merges that another node found wrong.
    `helper` is who merged what could not be merged line by line."""
    tasks = _all(merge["tasks"])
    for wrong in merge["refuted"]:
        found = f"{wrong['reviewer']} found: {wrong['fault']}"
        yield f"{tasks} were merged wrongly by {wrong['name']}; {found}"
    if merge["fault"]:
        yield f"{tasks} were not merged: {merge['fault']}"
        return
    how = helper if merge["by_agent"] else "without an agent"
    word = f", checked by {merge['reviewer']}" if merge["reviewer"] else ""
    if merge["waits"]:
        word = ", which another node has yet to check"
    yield f"{tasks} merged by {merge['name']} {how}, at {merge['index']}{word}"


def _unfinished(path: str, partials: list[dict[str, Any]]) -> Iterator[str]:
    if len(partials) == 1:
        yield "1 unfinished version was written:"
    elif partials:
        # Of one slot of a task those are kept beside each other that have not seen each other.
        are_siblings = len({(part["task"], part["slot"]) for part in partials}) == 1
        unaware = " without knowledge of each other" if are_siblings else ""
        yield f"{len(partials)} unfinished versions were written{unaware}:"
    for part in partials:
        seen = f"seen by {', '.join(part['seen_by'])}"
        yield f"  {part['task']} by {part['name']}, {part['size']} bytes, {seen}"
    if partials:
        first, *others = partials
        for other in others:
            names = (first["name"], other["name"])
            yield from _changes(path, first["content"], other["content"], *reversed(names))


def _merged(view: dict[str, Any], tasks: list[str], otherwise: str | None) -> str | None:
    """What the versions of these tasks became, if they were merged; None if it was left out."""
    contents = (each["content"] for each in view["merges"] if each["tasks"] == tasks)
    return next(contents, otherwise)


def _all(names: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _changes(
    path: str, before: str | None, after: str | None, to: str, since: str = "before"
) -> Iterator[str]:
    """A unified diff, indented; None is a text that the node has left out."""
    if before is None or after is None:
        yield f"    {_LEFT_OUT}"
        return
    if any(mark in text for text in (before, after) for mark in ("\0", REPLACED)):
        yield f"    {path} of {to} is binary, or was: no lines to compare"
        return
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), f"{path} {since}", f"{path} of {to}", lineterm=""
    )
    for line in lines:
        yield f"    {line}"
