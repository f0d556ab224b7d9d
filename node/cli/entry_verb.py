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
        bool,
        typer.Option("--delete", help="Delete what this node has seen; of a sum, its own part."),
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
        deleted: dict[str, Any] = execute(doors.first(lambda door: door.delete(path)))
        print_json(deleted) if as_json else say(_fate(deleted))
    elif value is not None:
        content = value.encode("utf-8", "surrogateescape")
        execute(doors.first(lambda door: door.put(path, content)))
        print_json({"key": key}) if as_json else say(f"written {key}")
    else:
        with negative("NotFound"):
            found: dict[str, Any] = execute(doors.get(path))
        print_json(found) if as_json else _show(found)


def _fate(deleted: dict[str, Any]) -> str:
    """What a deletion has done. Of a sum a node can take back only what it has added itself, and
    parts of others may be on their way to it."""
    key, remains = deleted["key"], deleted["remains"]
    authors = ", ".join(remains["authors"]) if remains else ""
    if deleted["is_sum"]:
        rest = "nothing else of it is known here"
        if remains:
            left = f"what {authors} added remains, {remains['value']} in all"
            rest = f"{left}: delete it there as well (--node)"
        return f"took back what this node had added to {key}; {rest}"
    if remains:
        return f"deleted what this node had seen of {key}; written meanwhile by {authors}: read it"
    return f"deleted {key}"


def _show(found: dict[str, Any]) -> None:
    merged, versions = found["value"], found["versions"]
    # Only of what nobody has merged does a version have a value of its own.
    if isinstance(merged, list) and len(versions) > 1 and "value" in versions[0]:
        for version in versions:
            say(f"{version['author']:<9} {version['value']}")
    elif isinstance(merged, list):
        for item in merged:
            say(item)
    else:
        say(merged)
