"""Verbs about all members: announce, query, join, tag, forget."""

from __future__ import annotations

import sys
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
    negative,
    print_json,
    say,
)

Name = Annotated[str, typer.Argument(help="What it is about: 1 to 64 characters.")]
Payload = Annotated[str, typer.Argument(help="Any text up to 8 KiB.")]


def announce(
    name: Name,
    payload: Payload = "",
    folder: DirOption = Path(DEFAULT_DIR),
    node: NodeOption = "",
    as_json: JsonOption = False,
) -> None:
    """Tell every member something: each reports it once, as the fact EventReceived."""
    answer = _post(folder, node, "/v1/announce", {"name": name, "payload": payload})
    if as_json:
        print_json(answer)
    else:
        say(f"announced {name}")


def query(
    name: Annotated[
        str, typer.Argument(help="ping, version, load, role, or one that nodes --answer.")
    ],
    payload: Payload = "",
    timeout: Annotated[float, typer.Option(help="Seconds to wait for answers.")] = 2.0,
    folder: DirOption = Path(DEFAULT_DIR),
    node: NodeOption = "",
    as_json: JsonOption = False,
) -> None:
    """Ask every member something, and show what each of them answers.

    Exit code 1: somebody who was there has not answered in time, or nobody knows such queries."""
    body = {"name": name, "payload": payload, "timeout_s": timeout}
    found = _post(folder, node, "/v1/query", body)
    if as_json:
        print_json(found)
    else:
        for who, said in sorted(found["answers"].items()):
            say(f"{who:<9} {said}".rstrip())
        for who in sorted(found["silent"]):
            say(f"{who:<9} (no answer)")
        for who in sorted(found["unknown"]):
            say(f"{who:<9} (does not know such queries)")
    if found["unknown"] and not found["answers"]:
        program = f"let nodes answer them: quorate node --answer {name}=PROGRAM"
        say(f"nobody answers queries {name!r}: {program}", file=sys.stderr)
    raise typer.Exit(1 if found["silent"] or not found["answers"] else 0)


def join(
    seeds: Annotated[list[str], typer.Argument(help="Addresses of the team, host:port.")],
    folder: DirOption = Path(DEFAULT_DIR),
    node: NodeOption = "",
    as_json: JsonOption = False,
) -> None:
    """Let a running node call more addresses of its team, now and for ever."""
    answer = _post(folder, node, "/v1/join", {"seeds": seeds})
    if as_json:
        print_json(answer)
    else:
        say(f"calling {', '.join(seeds)}")


def tag(
    tags: Annotated[list[str], typer.Argument(help="KEY=VALUE, or KEY= to take it back.")],
    folder: DirOption = Path(DEFAULT_DIR),
    node: NodeOption = "",
    as_json: JsonOption = False,
) -> None:
    """Tell all members something of a node (--node, else the first), for as long as it runs."""
    body = dict(_pair(text) for text in tags)
    answer = _post(folder, node, "/v1/tags", body)
    if as_json:
        print_json(answer)
    else:
        say(" ".join(f"{key}={value}" for key, value in answer["tags"].items()) or "no tags")


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"write KEY=VALUE, or KEY= to take it back, not {text!r}")
    return key, value


def forget(
    name: Annotated[str, typer.Argument(help="The name or id of a node that failed or left.")],
    folder: DirOption = Path(DEFAULT_DIR),
    node: NodeOption = "",
    as_json: JsonOption = False,
) -> None:
    """Let all members forget a node that has failed or left, before they do so by themselves."""
    with negative("NotPossible", "NotFound"):
        answer = _post(folder, node, "/v1/forget", {"node": name})
    if as_json:
        print_json(answer)
    else:
        say(f"forgotten {name}")


def _post(folder: Path, node: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """What a node answers."""
    doors = doors_of(folder, node)
    answer: dict[str, Any] = execute(doors.first(lambda door: door.post(path, body)))
    return answer
