"""`quorate explore`: every interleaving of a tiny cluster."""

from __future__ import annotations

import sys
from dataclasses import asdict
from time import perf_counter
from typing import Annotated

import typer

from node.cli.console import JsonOption, print_json

STATES_MAX = 1_000_000  # about half a gigabyte
STATES_PER_LINE = 50_000  # gone on from, before there is a word of progress

NOT_EXHAUSTED, BROKEN = 1, 5


def explore(
    nodes: Annotated[int, typer.Option(min=1, max=5, help="Voters.")] = 3,
    terms: Annotated[int, typer.Option(min=0, help="Terms after the first.")] = 2,
    entries: Annotated[int, typer.Option(min=0, help="Commands proposed.")] = 2,
    heartbeats: Annotated[int, typer.Option(min=0, help="Heartbeat rounds.")] = 0,
    resignations: Annotated[int, typer.Option(min=0, help="Leaders that step down.")] = 0,
    transfers: Annotated[int, typer.Option(min=0, help="Leadership handed over.")] = 0,
    changes: Annotated[int, typer.Option(min=0, help="Changes to one voter.")] = 0,
    crashes: Annotated[int, typer.Option(min=0, help="Crashes, each with a restart.")] = 0,
    duplicates: Annotated[int, typer.Option(min=0, help="Appends or answers repeated.")] = 0,
    drops: Annotated[int, typer.Option(min=0, help="Losses that the sender notices.")] = 0,
    pre_votes: Annotated[
        bool, typer.Option(help="Ask before the term is raised, or take it for granted.")
    ] = True,
    overtaking: Annotated[
        bool, typer.Option(help="Whether Appends on one link may overtake each other.")
    ] = True,
    slow_disks: Annotated[
        bool, typer.Option(help="Whether anything may happen before a write is durable.")
    ] = False,
    states_max: Annotated[int, typer.Option(min=1, help="Stop at so many.")] = STATES_MAX,
    as_json: JsonOption = False,
) -> None:
    """Explore every interleaving of a tiny Raft cluster, and check its invariants in each state.

    Losses that nobody notices, and repeated votes, are free. Exit code 0 all seen and nothing
    broken, 1 nothing broken but not all seen, 5 invariant broken.
    """
    from protocol.sim.exhaustive import Explorer
    from protocol.sim.small_bounds import Bounds

    bounds = Bounds(
        nodes=nodes,
        terms=terms,
        entries=entries,
        heartbeats=heartbeats,
        resignations=resignations,
        transfers=transfers,
        changes=changes,
        crashes=crashes,
        duplicates=duplicates,
        drops=drops,
        pre_votes=pre_votes,
        overtaking=overtaking,
        slow_disks=slow_disks,
    )
    began = perf_counter()
    explorer = Explorer(bounds, states_max=states_max)
    while explorer.go_on(STATES_PER_LINE):
        found = explorer.found()
        print(
            f"{perf_counter() - began:.0f} s: {found.states} states, depth {found.depth}, "
            f"{found.frontier} to go on from",
            file=sys.stderr,
        )
    found = explorer.found()
    elapsed = perf_counter() - began
    if as_json:
        print_json({**asdict(found), "elapsed_s": round(elapsed, 3)})
    else:
        print(f"{found}\n{elapsed:.1f} s, {found.states / max(elapsed, 1e-9):.0f} states/s")
    if found.invariant:
        raise typer.Exit(BROKEN)
    raise typer.Exit(0 if found.exhausted else NOT_EXHAUSTED)
