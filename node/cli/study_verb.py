"""`quorate study`: what others have published, measured with our machines in simulation."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.console import JsonOption, print_json

if TYPE_CHECKING:
    from protocol.sim.studies.table import Study

NAMES = (
    "swim", "lifeguard", "hyparview", "plumtree", "scuttlebutt", "joining", "figures", "team",
    "claims",
)  # fmt: skip


def study(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(NAMES)}.")],
    seed: Annotated[int, typer.Option(min=0, help="What is drawn is drawn from this.")] = 1,
    full: Annotated[
        bool, typer.Option("--full", help="team: also every size with every other claim mode.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure what a paper has published, with our own machines, and print both.

    Exit code 0 if no number is worse than the published one, else 1. Takes some minutes, the
    studies of teams about ten, and half an hour with --full.
    """
    measure = _study_of(name)
    if full and name != "team":
        raise typer.BadParameter("--full is of the study 'team'")
    if full:
        from node.lab import team_study

        measure = team_study.full_study
    begun = time.monotonic()
    found = measure(seed)
    seconds = time.monotonic() - begun
    if as_json:
        print_json({**asdict(found), "holds": found.holds, "seed": seed, "seconds": seconds})
    else:
        again = f"{name} --full" if full else name
        print(f"{found.text()}\n\n{seconds:.0f} s; quorate study {again} --seed {seed}")
    raise typer.Exit(0 if found.holds else 1)


def _study_of(name: str) -> Callable[[int], Study]:
    match name:
        case "swim":
            from protocol.sim.studies import swim

            return swim.study
        case "lifeguard":
            from protocol.sim.studies import lifeguard

            return lifeguard.study
        case "hyparview":
            from protocol.sim.studies import hyparview

            return hyparview.study
        case "plumtree":
            from protocol.sim.studies import plumtree

            return plumtree.study
        case "scuttlebutt":
            from protocol.sim.studies import scuttlebutt

            return scuttlebutt.study
        case "joining":
            from node.lab import joining

            return joining.study
        case "figures":
            from node.lab import figures

            return figures.study
        case "team" | "claims":
            from node.lab import team_study

            return team_study.study if name == "team" else team_study.claims_study
        case _:
            raise typer.BadParameter(f"there are {', '.join(NAMES)}, but no {name!r}")
