"""What all verbs share: the team's folder, an address to ask, JSON or text."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO, TypeVar

import typer

from node.legible import printable
from node.model.knobs import SPEED_MAX

if TYPE_CHECKING:
    from node.lab.door import Doors

DEFAULT_DIR = ".quorate"
STOPPING = (signal.SIGTERM, signal.SIGHUP)  # unless they are ignored, as under nohup

DirOption = Annotated[
    Path,
    typer.Option("--dir", help="The team's folder.", envvar="QUORATE_DIR"),
]
NodeOption = Annotated[
    str,
    typer.Option(
        "--node",
        help="Ask this node: its name in the team, or its client door's host:port.",
        envvar="QUORATE_NODE",
    ),
]
SpeedOption = Annotated[
    float,
    typer.Option(min=0.01, max=SPEED_MAX, help="How much faster the simulated model is."),
]
SeedOption = Annotated[int, typer.Option(min=0, help="What the simulated model draws from.")]
WrongOption = Annotated[
    float,
    typer.Option(min=0.0, max=1.0, help="Share of the simulated model's answers that are wrong."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]

T = TypeVar("T")


def seconds_given(text: str, option: str) -> float:
    """A span of time that an option gives, in seconds; more than none."""
    from node.jobfile.forms import seconds_of

    try:
        seconds = seconds_of(text)
    except ValueError as wrong:
        raise typer.BadParameter(str(wrong), param_hint=option) from None
    if seconds <= 0:
        raise typer.BadParameter(
            f"{text} is no time: leave it out, or say how long", param_hint=option
        )
    return seconds


def doors_of(folder: Path, node: str) -> Doors:
    """The doors to ask: the given one, else those of the team's running nodes."""
    from node.lab.cluster import Cluster, first_running
    from node.lab.door import Doors

    if node:
        address = _address(folder, node)
        return Doors([address], _token(folder, address))
    cluster = Cluster.load(folder)
    first_running(cluster.nodes)
    return cluster.doors()


def _address(folder: Path, node: str) -> str:
    """The door of the node that is called so in the folder's team; else the text itself."""
    from node.lab.cluster import STATE_FILE, Cluster

    if ":" in node or not (folder / STATE_FILE).exists():
        return node
    entries = Cluster.load(folder).nodes
    return next((entry.door for entry in entries if entry.name == node), node)


def names_of_doors(folder: Path) -> dict[str, str]:
    """The names of the nodes of the folder's team, by their doors; none if it has no team."""
    from node.lab.cluster import STATE_FILE, Cluster

    if not (folder / STATE_FILE).exists():
        return {}
    return {entry.door: entry.name for entry in Cluster.load(folder).nodes}


def _token(folder: Path, node: str) -> str:
    """For a node that is named by its address: QUORATE_TOKEN, or what is in the file that
    QUORATE_TOKEN_FILE names, or the token of the folder's team if the node is of that team."""
    from node.lab.cluster import STATE_FILE, Cluster
    from node.token import TokenError, checked_token, read_token

    if token := checked_token(os.environ.get("QUORATE_TOKEN", ""), "QUORATE_TOKEN"):
        return token
    if file := os.environ.get("QUORATE_TOKEN_FILE", ""):
        source = f"QUORATE_TOKEN_FILE {file}"
        try:
            return read_token(Path(file), source)
        except FileNotFoundError:
            raise TokenError(f"{source}: there is no such file: name the node's") from None
    cluster = Cluster.load(folder) if (folder / STATE_FILE).exists() else None
    is_ours = cluster is not None and any(entry.door == node for entry in cluster.nodes)
    return cluster.token if cluster is not None and is_ours else ""


@contextlib.contextmanager
def negative(*kinds: str) -> Iterator[None]:
    """Errors of these kinds are a negative result: one line, and exit code 1."""
    from node.lab.door import DoorError

    try:
        yield
    except DoorError as fault:
        if fault.kind not in kinds:
            raise
        say(fault, file=sys.stderr)
        raise typer.Exit(1) from None


def execute(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, or until we are asked to end: SIGTERM and SIGHUP let it clear up
    behind itself as Ctrl-C does."""
    return asyncio.run(_until_stopped(work))


async def _until_stopped(work: Coroutine[Any, Any, T]) -> T:
    running = asyncio.current_task()
    assert running is not None
    stopped_by: list[int] = []

    def stop(number: int) -> None:
        if not stopped_by:  # once: the second would cut short what the first has begun
            stopped_by.append(number)
            running.cancel()

    loop = asyncio.get_running_loop()
    heeded = [number for number in STOPPING if signal.getsignal(number) is signal.SIG_DFL]
    if threading.current_thread() is threading.main_thread():
        for number in heeded:
            loop.add_signal_handler(number, stop, number)
    try:
        return await work
    except asyncio.CancelledError:
        if not stopped_by:
            raise
        raise SystemExit(128 + stopped_by[0]) from None


def say(text: object, *, file: TextIO | None = None) -> None:
    """Print what others have said, or may have: a terminal shall not obey it."""
    print(printable(str(text)), file=file, flush=True)


def say_beside(text: object) -> None:
    """The same beside the result, on standard error."""
    say(text, file=sys.stderr)


def print_json(value: object) -> None:
    print(json.dumps(value, indent=2))


def plural(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
