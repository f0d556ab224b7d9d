"""`quorate answer`: what a team asks people, and the answers of a person."""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from node.cli.console import (
    DEFAULT_DIR,
    DirOption,
    JsonOption,
    NodeOption,
    doors_of,
    execute,
    names_of_doors,
    negative,
    print_json,
    say,
)

if TYPE_CHECKING:
    from node.lab.door import Doors

STDIN = "-"
PROMPT_LINES_MAX = 5  # of a question in the list


def answer(
    task: Annotated[
        str | None, typer.Argument(help="Whose question; all that wait are listed, if left out.")
    ] = None,
    source: Annotated[
        str | None, typer.Argument(metavar="[-]", help="-: the text is on standard input.")
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(help="The answer; becomes the file where one is wanted and none is given."),
    ] = None,
    file: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH=LOCAL", help="The content of PATH is in the file LOCAL."),
    ] = None,
    job: Annotated[str, typer.Option(help="A job's id, if several ask the like.")] = "",
    folder: DirOption = Path(DEFAULT_DIR),
    node: NodeOption = "",
    as_json: JsonOption = False,
) -> None:
    """Answer what a task of 'agent: human' asks; show all of a question, or list what waits.

    Asks all nodes of the folder's team; of another team only the one that --node names. Exit code 1
    if no such task waits, if the answer is not what was asked for, or if its check says no.
    """
    if source not in (None, STDIN):
        raise typer.BadParameter(f"the answer comes by --text, --file or {STDIN}, not as {source}")
    if source == STDIN and text is not None:
        raise typer.BadParameter(f"--text or {STDIN}: there is one text")
    is_given = source == STDIN or text is not None or bool(file)
    files: dict[str, object] = {}
    for path, content in map(_file_given, file or ()):
        if path in files:
            raise typer.BadParameter(f"{path} is given twice: one --file for each")
        files[path] = content
    doors = _doors(folder, node)
    waiting = execute(_waiting(doors))
    if task is None:
        if is_given or job:
            raise typer.BadParameter("say which task this is about")
        _list(waiting, as_json)
        return
    with negative("NotFound", "BadAnswer"):
        address, row = _chosen(waiting, task, job)
        if not is_given:
            view = execute(_at(doors, address, row))
            print_json(view) if as_json else _show(view)
            return
        said = _standard_input() if source else text or ""
        done = execute(_at(doors, address, row, {"text": said, "files": files}))
    if as_json:
        print_json(done)
    else:
        say(f"{task}: {_what_became(done)}")
    if done["outcome"] == "failed":
        raise typer.Exit(1)


def _what_became(done: dict[str, Any]) -> str:
    """Of an answer, by what the door said."""
    node, detail = done["node"], done["detail"]
    match done["outcome"]:
        case "passed":
            return f"the answer is handed in by {node}"
        case "checking":
            return f"the answer is being checked by {node}"
        case "unchecked":
            return f"the answer is kept, and another node checks it, for {node} cannot: {detail}"
        case _:
            then = "will be asked for anew" if done["asked_anew"] else "is not asked for again"
            return f"the answer does not count, and {then}: {detail}"


def _doors(folder: Path, node: str) -> Doors:
    """The doors of all nodes of the folder's team, the named one first; that one alone if it is of
    another. What its members say of their doors counts for nothing here: whoever is asked is shown
    the token."""
    from node.lab.cluster import Cluster
    from node.lab.door import Doors

    doors = doors_of(folder, node)
    team = names_of_doors(folder)
    if not node:
        return doors
    if not team.keys() & set(doors.addresses):
        told = (
            f"note: only {node} is asked; what waits at another node of its team needs --node too"
        )
        say(told, file=sys.stderr)
        return doors
    running = (entry.door for entry in Cluster.load(folder).running())
    return Doors(list(dict.fromkeys([*doors.addresses, *running])), doors.token)


async def _waiting(doors: Doors) -> list[tuple[str, dict[str, Any]]]:
    """What waits for an answer, the oldest first, each with the door where. The error of a door if
    none answers."""
    from node.lab.door import DoorError

    told = await doors.ask_all("/v1/people")
    faults = [each for each in told if isinstance(each, DoorError)]
    if len(faults) == len(told) and faults:
        raise faults[0]
    for fault in faults:
        say(f"note: what waits at one node is not known: {fault}", file=sys.stderr)
    rows = [
        (address, row)
        for address, found in zip(doors.addresses, told, strict=True)
        if not isinstance(found, DoorError)
        for row in found
    ]
    return sorted(rows, key=lambda each: -float(each[1]["asked_s"]))


def _chosen(
    waiting: Sequence[tuple[str, dict[str, Any]]], task: str, job: str
) -> tuple[str, dict[str, Any]]:
    """The oldest question of the task. DoorError, NotFound, if there is none, or if several jobs
    have one."""
    from node.lab.door import DoorError

    found = [each for each in waiting if each[1]["task"] == task and job in ("", each[1]["job"])]
    jobs = list(dict.fromkeys(row["job"] for _, row in found))
    if len(jobs) > 1:
        detail = f"several jobs wait for {task}: say --job {' or --job '.join(jobs)}"
        raise DoorError("NotFound", detail)
    if found:
        return found[0]
    others = ", ".join(dict.fromkeys(row["task"] for _, row in waiting))
    what = f"{others} does" if others else "nothing else does either"
    raise DoorError("NotFound", f"no task {task!r} waits for a person's answer; {what}")


async def _at(
    doors: Doors, address: str, row: dict[str, Any], body: dict[str, Any] | None = None
) -> Any:
    """The whole question, or what became of an answer to it."""
    from node.lab.door import route

    where = route("people", row["job"], row["task"])
    async with doors.door(address) as door:
        return await (door.get(where) if body is None else door.post(where, body))


def _standard_input() -> str:
    """The text that is there, which becomes a file at most."""
    from protocol.jobs import FILE_SIZE_MAX

    content = sys.stdin.buffer.read(FILE_SIZE_MAX + 1)
    if len(content) > FILE_SIZE_MAX:
        raise typer.BadParameter(f"standard input is over the limit of {FILE_SIZE_MAX} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise typer.BadParameter("standard input is not UTF-8 text: give it by --file") from None


def _file_given(said: str) -> tuple[str, object]:
    """PATH=LOCAL, or one name for both: the path, and the content as the door takes it."""
    from node.jobfile.travelling import read_regular
    from protocol.jobs import FILE_SIZE_MAX

    path, _, local = said.partition("=")
    try:
        content = read_regular(Path(local or path), FILE_SIZE_MAX)
    except (OSError, ValueError) as fault:
        reason = (isinstance(fault, OSError) and fault.strerror) or fault
        raise typer.BadParameter(f"{local or path} cannot be read: {reason}") from None
    if len(content) > FILE_SIZE_MAX:
        raise typer.BadParameter(f"{local or path} is over the limit of {FILE_SIZE_MAX} bytes")
    try:
        return path, content.decode()
    except UnicodeDecodeError:
        return path, {"base64": base64.b64encode(content).decode()}


def _list(waiting: Sequence[tuple[str, dict[str, Any]]], as_json: bool) -> None:
    if as_json:
        print_json([{**row, "door": address} for address, row in waiting])
        return
    for _, row in waiting:
        for line in _lines(row):
            say(line)
    if waiting:
        say("\nall of it: quorate answer TASK; to answer: --text TEXT, --file PATH=LOCAL, or -")
    else:
        say("nothing waits for a person's answer")


def _lines(row: dict[str, Any]) -> Iterator[str]:
    asked, left = _span(row["asked_s"]), _span(row["left_s"])
    yield f"{row['task']}  ({row['job']}, asked by {row['node']} {asked} ago, {left} left)"
    prompt = row["prompt"].strip().splitlines()
    yield from (f"    {line}" for line in prompt[:PROMPT_LINES_MAX])
    if len(prompt) > PROMPT_LINES_MAX:
        yield f"    ... ({len(prompt)} lines)"
    if row["inputs"]:
        yield f"  to read: {', '.join(row['inputs'])}"
    if row["writes"]:
        yield f"  to write: {', '.join(row['writes'])}"
    if row["failures"]:
        yield f"  an answer failed: {row['failures'][-1]}"


def _show(view: dict[str, Any]) -> None:
    say(view["text"].rstrip())
    if view["verify"].strip():
        say(f"\n(its check: {view['verify'].strip()})")


def _span(seconds: float) -> str:
    """For people: 40 s, 12 min, 3 h."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3_600:.0f} h"
