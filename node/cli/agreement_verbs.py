"""Verbs about the agreement: status, transfer, rescue."""

from __future__ import annotations

import asyncio
import sys
import time
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
    plural,
    print_json,
    say,
)

if TYPE_CHECKING:
    from node.lab.door import Doors

Status = dict[str, Any]

LEAD_TIMEOUT_S = 10.0  # until a rescued node leads
LOOK_S = 0.05


def status(
    folder: DirOption = Path(DEFAULT_DIR), node: NodeOption = "", as_json: JsonOption = False
) -> None:
    """Who leads, who votes, how far they are; or why nobody leads (exit code 1)."""
    from node.lab.door import LOOK_TIMEOUT_S

    doors = doors_of(folder, node)
    answers = execute(_statuses(doors))
    found = _told_by_leader(list(answers.values()))
    names = names_of_doors(folder)
    silent = [names.get(each, each) for each in doors.addresses if each not in answers]
    if as_json:
        print_json({**found, "silent": silent})
    else:
        for line in lines_of(found):
            say(line)
        if silent:
            say(f"no answer from {', '.join(silent)} within {LOOK_TIMEOUT_S:g} s")
    raise typer.Exit(1 if found["why_no_leader"] else 0)


async def _statuses(doors: Doors) -> dict[str, Status]:
    """By address, what those nodes say that answer. DoorError if there are none."""
    from node.lab.door import DoorError

    answers = await doors.ask_all("/v1/status")
    faults = [answer for answer in answers if isinstance(answer, DoorError)]
    if len(faults) == len(answers):
        raise faults[0]
    told = zip(doors.addresses, answers, strict=True)
    return {address: answer for address, answer in told if not isinstance(answer, DoorError)}


def _told_by_leader(statuses: list[Status]) -> Status:
    """The leader's view; without a leader that of who knows most."""
    return max(
        statuses,
        key=lambda one: (one["epoch"], one["role"] == "leader", one["commit"], one["term"]),
    )


def lines_of(status: Status) -> list[str]:
    """A node's status for people."""
    names = status["names"]
    term = f"term {status['term']}, epoch {status['epoch']}"
    if status["why_no_leader"]:
        lines = [f"no leader ({term}), as {status['name']} sees it:"]
        lines += [f"  - {reason}" for reason in status["why_no_leader"]]
    else:
        lines = [f"leader {status['leader_name']} ({term})"]
    if status["transferring_to"]:
        lines.append(f"handing over to {names.get(status['transferring_to'])}")
    progress = {row["node"]: row for row in status["progress"]}
    for title, nodes in (
        ("voters", status["voters"]),
        ("outgoing", status["changing_from"]),
        ("learners", status["learners"]),
    ):
        said = [f"{names[one]}{_state_of(status, progress.get(one), one)}" for one in nodes]
        if said:
            lines.append(f"{title:<10}{', '.join(sorted(said))}")
    lines.append(
        f"log       {status['first_index']} to {status['last_index']}, committed "
        f"{status['commit']}, applied {status['applied']}, snapshot {status['snapshot_index']}"
    )
    registers = status["registers"]
    lines.append(
        f"registers {plural(registers['keys'], 'key')} at revision {registers['revision']}, "
        f"{plural(registers['sessions'], 'session')}"
    )
    if status["seen_at"]:
        seen = [f"{at} by {plural(count, 'node')}" for at, count in status["seen_at"].items()]
        lines.append(f"seen at   {', '.join(seen)}, as {status['name']} hears")
    if status["impaired"]:
        lines.append(f"{status['name']}: the journal has lost something; it does not vote")
    if status["disk_waits_s"] >= 1.0:
        lines.append(f"{status['name']}: the disk has not answered for {status['disk_waits_s']} s")
    return lines


def _state_of(status: Status, row: dict[str, Any] | None, node: str) -> str:
    """Whether it is there, and what the leader knows of a follower, behind its name."""
    said = ["is down"] if node in status["lost"] else []
    if row is None:
        if node == status["leader"] and not status["why_no_leader"]:
            said.append("leads")
        return f" ({', '.join(said)})" if said else ""
    if row["lacks"]:
        said.append(f"lacks {row['lacks']} of the log")
    if row["pace"] == "snapshot":
        said.append("gets a snapshot")
    if row["silent_s"] >= 1.0:
        said.append(f"silent for {row['silent_s']:.1f} s")
    return f" ({', '.join(said)})" if said else ""


# -- who leads -------------------------------------------------------------------------------------


def transfer(
    name: Annotated[
        str, typer.Argument(help="The voter that shall lead; whoever is furthest if left out.")
    ] = "",
    folder: DirOption = Path(DEFAULT_DIR),
    node: NodeOption = "",
    as_json: JsonOption = False,
) -> None:
    """Let another voter lead, without an election time-out in between."""
    doors = doors_of(folder, node)
    with negative("ChangeRefused"):
        answer = execute(_transfer(doors, name))
    if as_json:
        print_json(answer)
    elif "leader_name" in answer:
        say(f"{answer['leader_name']} leads")
    else:
        for reason in answer["why_no_leader"]:
            say(f"no leader: {reason}", file=sys.stderr)
    raise typer.Exit(0 if "leader_name" in answer else 1)


async def _transfer(doors: Doors, name: str) -> dict[str, Any]:
    """Ask any node, which asks the leader. Without a leader, why there is none."""
    found = _told_by_leader(list((await _statuses(doors)).values()))
    if found["why_no_leader"]:
        return {"why_no_leader": found["why_no_leader"]}
    answer: dict[str, Any] = await doors.first(lambda door: door.post("/v1/transfer", {"to": name}))
    return answer


# -- a majority that is lost -----------------------------------------------------------------------


def rescue(
    node: NodeOption = "",
    cluster: Annotated[
        str, typer.Option("--confirm", metavar="CLUSTER", help="The cluster's name, to confirm it.")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Confirm it without naming it.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Even though a majority of the voters is in sight.")
    ] = False,
    folder: DirOption = Path(DEFAULT_DIR),
    as_json: JsonOption = False,
) -> None:
    """Go on from one node's log when a majority of the voters is lost for good.

    The node votes alone then, in a new epoch, and takes in others as in a new team. Whatever only
    the lost voters had is given up, even if it was acknowledged; should one of them come back, it
    takes this node's log. So name the node that has most: 'quorate status --node' tells how far
    each one's log goes."""
    if not node:
        raise typer.BadParameter("--node says whose log shall be the team's")
    doors = doors_of(folder, node)
    found: Status = execute(doors.get("/v1/status"))
    name = found["cluster"]
    if not as_json:
        for line in lines_of(found):
            say(line)
        say(f"a rescue gives up whatever only others than {found['name']} have in their logs")
    if not (yes or cluster):
        if not sys.stdin.isatty():
            raise typer.BadParameter(f"confirm it with --yes, or with --confirm {name}")
        cluster = typer.prompt(f"if that is what you want, type the cluster's name, {name}")
    body = {"confirm": name if yes and not cluster else cluster, "force": force}
    with negative("NotPossible"):
        answer, after = execute(_rescue(doors, body))
    if as_json:
        print_json({**answer, "leads": not after["why_no_leader"]})
    else:
        say(answer["meaning"])
        for line in lines_of(after):
            say(line)
    raise typer.Exit(1 if after["why_no_leader"] else 0)


async def _rescue(doors: Doors, body: dict[str, Any]) -> tuple[dict[str, Any], Status]:
    """The answer, and the node's status once it leads."""
    answer = await doors.first(lambda door: door.post("/v1/rescue", body))
    deadline = time.monotonic() + LEAD_TIMEOUT_S
    while True:
        after: Status = await doors.get("/v1/status")
        if after["role"] == "leader" or time.monotonic() > deadline:
            return answer, after
        await asyncio.sleep(LOOK_S)
