"""The verb about a register: read it, write it, write it if it is as expected, delete it."""

from __future__ import annotations

import base64
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from node.cli.console import (
    DEFAULT_DIR,
    DirOption,
    JsonOption,
    NodeOption,
    doors_of,
    execute,
    negative,
    print_json,
)

if TYPE_CHECKING:
    from node.lab.door import Doors


class Level(StrEnum):
    """How fresh a read is; `protocol.events.Consistency` without importing it for --help."""

    linearizable = "linearizable"
    lease = "lease"
    local = "local"


def register(
    key: Annotated[str, typer.Argument(help="The register's name.")],
    value: Annotated[str | None, typer.Option("--set", metavar="VALUE", help="Write this.")] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete it.")] = False,
    expect: Annotated[
        str | None, typer.Option(metavar="VALUE", help="Write only if this is the value now.")
    ] = None,
    absent: Annotated[bool, typer.Option("--absent", help="Write only if there is none.")] = False,
    consistency: Annotated[
        Level | None,
        typer.Option(help="How fresh a read is: the latest (the default), or what this node has."),
    ] = None,
    folder: DirOption = Path(DEFAULT_DIR),
    node: NodeOption = "",
    as_json: JsonOption = False,
) -> None:
    """Read a value that the team agrees on, or --set or --delete it.

    Exit code 1: there is no such register, or the value is not the expected one."""
    if value is not None and delete:
        raise typer.BadParameter("--set and --delete exclude each other")
    if expect is not None and absent:
        raise typer.BadParameter("--expect and --absent exclude each other")
    if value is None and (expect is not None or absent):
        raise typer.BadParameter("--expect and --absent are conditions for --set")
    if consistency is not None and (value is not None or delete):
        raise typer.BadParameter("--consistency is for reading")
    if not key:
        raise typer.BadParameter("a key has at least one character")
    doors = doors_of(folder, node)
    path = f"/v1/registers/{quote(key, safe='')}"
    if value is None and not delete:
        _read(doors, key, f"{path}?consistency={consistency or Level.linearizable}", as_json)
        return
    condition = "?absent=1" if absent else ""
    if expect is not None:
        condition = f"?expect={quote(expect, safe='')}"
    with negative("Unequal"):
        answer: Any = execute(_write(doors, path + condition, value))
    print_json({"key": key, **answer}) if as_json else print(f"revision {answer['revision']}")


async def _write(doors: Doors, path: str, value: str | None) -> Any:
    """Write, or delete if there is no value."""
    if value is None:
        return await doors.first(lambda door: door.delete(path))
    return await doors.first(lambda door: door.put(path, value.encode("utf-8", "surrogateescape")))


def _read(doors: Doors, key: str, path: str, as_json: bool) -> None:
    with negative("NotFound"):
        value, headers = execute(doors.first(lambda door: door.get_whole(path)))
    if not as_json:
        sys.stdout.buffer.write(value)
        if sys.stdout.isatty() and not value.endswith(b"\n"):
            sys.stdout.buffer.write(b"\n")
        return
    content: dict[str, Any] = {"key": key, "revision": int(headers["Quorate-Revision"])}
    try:
        content["value"] = value.decode()
    except UnicodeDecodeError:
        content["base64"] = base64.b64encode(value).decode()
    print_json(content)
