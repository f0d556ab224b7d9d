"""The verb about an entry: a value that nodes share by gossip."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
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
    say,
)


def entry(
    key: Annotated[
        str,
        typer.Argument(help="Its name; last/, max/, sum/ or set/ in front says how values merge."),
    ],
    value: Annotated[str | None, typer.Option("--set", metavar="VALUE", help="Write this.")] = None,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete what this node has seen.")
    ] = False,
    folder: DirOption = Path(DEFAULT_DIR),
    node: NodeOption = "",
    as_json: JsonOption = False,
) -> None:
    """Read a value that every node has by and by, or --set or --delete it: on either side of a cut.

    What was written on both sides is merged as the key says, or shown side by side. Exit code 1:
    the node that was asked has none."""
    if value is not None and delete:
        raise typer.BadParameter("--set and --delete exclude each other")
    doors = doors_of(folder, node)
    path = f"/v1/entries/{quote(key, safe='/')}"
    if delete:
        execute(doors.first(lambda door: door.delete(path)))
        print_json({"key": key}) if as_json else say(f"deleted {key}")
    elif value is not None:
        content = value.encode("utf-8", "surrogateescape")
        execute(doors.first(lambda door: door.put(path, content)))
        print_json({"key": key}) if as_json else say(f"written {key}")
    else:
        with negative("NotFound"):
            found: dict[str, Any] = execute(doors.get(path))
        print_json(found) if as_json else _show(found)


def _show(found: dict[str, Any]) -> None:
    merged = found["value"]
    if isinstance(merged, list) and len(found["versions"]) == len(merged) > 1:
        for version in found["versions"]:
            say(f"{version['author']:<10}{version.get('value', '')}")
    elif isinstance(merged, list):
        for item in merged:
            say(item)
    else:
        say(merged)
