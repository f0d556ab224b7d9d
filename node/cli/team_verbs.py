"""Verbs about the team itself: up, down, ps, logs, node, doctor."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from node.cli.console import (
    DEFAULT_DIR,
    DirOption,
    JsonOption,
    NodeOption,
    SeedOption,
    SpeedOption,
    WrongOption,
    doors_of,
    execute,
    plural,
    print_json,
    say,
)

if TYPE_CHECKING:
    from node.lab.door import Doors

NODES = 5
READY_TIMEOUT_S = 20.0


class Preset(StrEnum):
    """Where the nodes are: each name stands for a set of times in `protocol.config`."""

    LOCAL = "local"
    LAN = "lan"
    WAN = "wan"


def up(
    nodes: Annotated[
        int | None, typer.Option("-n", "--nodes", help="How many, for a new team; 5 by default.")
    ] = None,
    folder: DirOption = Path(DEFAULT_DIR),
    speed: SpeedOption = 4.0,
    seed: SeedOption = 1,
    wrong: WrongOption = 0.0,
    answer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PROGRAM",
            help="What answers queries of this name, once for each; the team keeps what it was "
            "started with last.",
        ),
    ] = None,
    allow_faults: Annotated[bool, typer.Option(help="Let clients cut links, for studies.")] = False,
    preset: Annotated[
        Preset | None,
        typer.Option(
            help="How long the nodes of a new team wait for each other: local (the default), as on "
            "one machine; lan, as at one site; wan, as between several."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Start a team that outlives this terminal, or start a stopped one again on its data."""
    from node.lab.cluster import STATE_FILE, Cluster, ClusterError, ModelOptions
    from node.settings import answers_given

    answers = answers_given(answer or [])
    fresh = not (folder / STATE_FILE).exists()
    size = NODES if nodes is None else nodes
    wanted = (preset or Preset.LOCAL).value
    cluster = Cluster.create(folder, size, allow_faults, wanted) if fresh else Cluster.load(folder)
    if nodes not in (None, len(cluster.nodes)):
        raise ClusterError(
            f"the team in {folder} has {plural(len(cluster.nodes), 'node')}, and keeps them: leave "
            f"-n out, or start another team with --dir"
        )
    if allow_faults and not cluster.allow_faults:
        raise ClusterError(
            f"the team in {folder} was made without --allow-faults: start another with --dir"
        )
    if preset not in (None, cluster.preset):
        raise ClusterError(
            f"the team in {folder} runs with --preset {cluster.preset}, and keeps it: leave "
            f"--preset out, or start another team with --dir"
        )
    already = len(cluster.running())
    if answers and already and answers != cluster.answers:
        raise ClusterError(
            f"{plural(already, 'node')} of {folder} would go on without --answer: stop the team "
            "first ('quorate down')"
        )
    cluster.answers = answers or cluster.answers
    cluster.start(ModelOptions(speed=speed, seed=seed, extra=("--wrong", str(wrong))))
    ready = execute(cluster.doors().await_ready(READY_TIMEOUT_S))
    if not ready:
        print("warning: no leader yet: look at 'quorate ps' and 'quorate logs'", file=sys.stderr)
    if as_json:
        rows = [
            {"name": n.name, "pid": n.pid, "peer": n.peer, "door": n.door} for n in cluster.nodes
        ]
        print_json({"dir": str(folder), "cluster": cluster.name, "nodes": rows})
        return
    print(f"{_started(len(cluster.nodes), already, fresh)} in {folder}:")
    for node in cluster.nodes:
        print(f"  {node.name}  http://{node.door}")
    print("next: quorate submit mathutils_p05, quorate tasks, quorate down")


def _started(size: int, already: int, fresh: bool) -> str:
    if already == size:
        return f"{plural(size, 'node')} run{'s' * (size == 1)} already"
    before = f", {already} ran already," if already else ""
    return f"{plural(size - already, 'node')} started{'' if fresh else ' again'}{before}"


def down(folder: DirOption = Path(DEFAULT_DIR), as_json: JsonOption = False) -> None:
    """Stop exactly what `up` started. The data stays; remove the folder to forget it."""
    from node.lab.cluster import Cluster

    cluster = Cluster.load(folder)
    running = [node.name for node in cluster.running()]
    killed = cluster.stop()
    if as_json:
        print_json({"stopped": running, "killed": killed})
        return
    print(f"stopped {', '.join(running)}" if running else f"no node of {folder} was running")
    if killed:
        print(f"had to be killed: {', '.join(killed)}")


def ps(
    folder: DirOption = Path(DEFAULT_DIR), node: NodeOption = "", as_json: JsonOption = False
) -> None:
    """Who is in the team, who leads, what each node does, and what is wrong between them."""
    from node.lab.cluster import Cluster
    from node.lab.door import Doors

    rows: list[dict[str, Any]] = []
    told: list[dict[str, Any]] = []
    if node:
        members, status = execute(_as_seen_by(doors_of(folder, node)))
        told = [status]
        rows = [{**row, "leads": row["node"] == status["leader"]} for row in members]
    else:
        cluster = Cluster.load(folder)
        entries = cluster.nodes
        everybody = Doors([entry.door for entry in entries], cluster.token)
        found = execute(everybody.gather("/v1/status"))
        told = [status for status in found if status]
        for entry, status in zip(entries, found, strict=True):
            alive = entry.process.is_alive
            row = {"name": entry.name, "pid": entry.pid, "door": entry.door}
            row["state"] = "running" if alive and status else "silent" if alive else "stopped"
            rows.append({**row, **(status or {})} if alive else row)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        say(_row_line(row))
    for line in _trouble_lines(told):
        say(line)
    if not any(row.get("state") in ("running", "alive") for row in rows):
        raise typer.Exit(1)


async def _as_seen_by(doors: Doors) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The members and the status as one node tells them."""
    return await doors.get("/v1/members"), await doors.get("/v1/status")


def _row_line(row: dict[str, Any]) -> str:
    from node.lab.door import LOOK_TIMEOUT_S

    parts = [f"{row['name']:<10}", f"{row['state']:<8}"]
    if "role" in row:
        working = ",".join(unit[1] for unit in row["running"]) or "idle"
        parts.append(f"{_part(row):<9} term {row['term']:<3} sees {row['alive']}  {working}")
    elif row.get("leads"):
        parts.append("leader")
    elif row["state"] == "silent":
        parts.append(f"(no answer within {LOOK_TIMEOUT_S:g} s)")
    parts += filter(None, [_standing(row)])
    return "  ".join([*parts, f"http://{row['door']}" if row.get("door") else ""]).rstrip()


def _standing(row: dict[str, Any]) -> str:
    """Beside a member's state: why it failed, whether it comes and goes, what is said of it."""
    words = [row.get("evidence", ""), "degraded" if row.get("degraded") else ""]
    words += [f"{key}={value}" for key, value in row.get("tags", {}).items()]
    return " ".join(filter(None, words))


def _trouble_lines(told: list[dict[str, Any]]) -> list[str]:
    """What nodes hold to be wrong, and which of them do."""
    by: dict[str, list[str]] = {}
    for status in told:
        for sentence in status["trouble"]["says"]:
            by.setdefault(sentence, []).append(status["name"])
    return [f"! {', '.join(names)}: {sentence}" for sentence, names in by.items()]


def _part(row: dict[str, Any]) -> str:
    """A node's part in the agreement: its role if it votes."""
    if row["node"] in (*row["voters"], *row["changing_from"]):
        return str(row["role"])
    return "learner" if row["node"] in row["learners"] else "no voter"


def logs(
    name: Annotated[str, typer.Argument(help="A node's name; all nodes if left out.")] = "",
    folder: DirOption = Path(DEFAULT_DIR),
    lines: Annotated[int, typer.Option("--lines", min=1, help="How many, from the end.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """What the nodes report, oldest first: one line a fact."""
    from node.lab.cluster import Cluster, ClusterError

    cluster = Cluster.load(folder)
    chosen = [node for node in cluster.nodes if name in ("", node.name)]
    if not chosen:
        known = ", ".join(node.name for node in cluster.nodes)
        raise ClusterError(f"there is no node {name!r} in this team: there are {known}")
    found: list[tuple[str, str]] = []
    for node in chosen:
        path = cluster.data_dir(node) / ("facts.jsonl" if as_json else "node.log")
        text = path.read_text(errors="replace") if path.exists() else ""
        found += [(line, node.name) for line in text.splitlines()[-lines:]]
    # By time only, which comes first in a line: the lines of one node stay in their order.
    found.sort(key=lambda row: row[0].partition("," if as_json else " ")[0])
    for line, who in found[-lines:]:
        say(line if as_json else f"{who:<4} {line}")


def node(context: typer.Context) -> None:
    """Run one node in the foreground, here or in a container; see `quorate node --help`."""
    from node.process import main

    raise typer.Exit(main(context.args))


def doctor(as_json: JsonOption = False) -> None:
    """Look whether this machine can run a team, and which model it would use."""
    from node.lab.examine import examine

    findings = examine()
    if as_json:
        print_json([{"what": f.what, "ok": f.is_ok, "detail": f.detail} for f in findings])
    else:
        for finding in findings:
            print(f"{'ok  ' if finding.is_ok else 'BAD '} {finding.what}: {finding.detail}")
    if not all(finding.is_ok for finding in findings):
        sys.exit(1)
