"""What all verbs share: the team's folder, an address to ask, JSON or text."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

DEFAULT_DIR = ".quorate"

DirOption = Annotated[
    Path,
    typer.Option("--dir", help="The team's folder.", envvar="QUORATE_DIR"),
]
NodeOption = Annotated[
    str,
    typer.Option(
        "--node", help="Ask the client door at this host:port instead.", envvar="QUORATE_NODE"
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]

T = TypeVar("T")


def token() -> str:
    """The client door's token, from the environment."""
    return os.environ.get("QUORATE_TOKEN", "")


def doors_of(folder: Path, node: str) -> list[str]:
    """The doors to ask: the given one, else those of the team's running nodes."""
    if node:
        return [node]
    from node.lab.cluster import Cluster, first_running

    cluster = Cluster.load(folder)
    first_running(cluster.nodes)
    return [entry.door for entry in cluster.running()]


def execute(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end."""
    return asyncio.run(work)


def print_json(value: object) -> None:
    print(json.dumps(value, indent=2))


def plural(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
