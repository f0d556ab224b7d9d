"""`quorate sim`: the same peer in virtual time."""

from __future__ import annotations

from typing import Annotated

import typer

from node.cli.console import JsonOption, print_json


def sim(
    seed: Annotated[int, typer.Option(min=0, help="The first seed.")] = 0,
    nodes: Annotated[
        int, typer.Option(min=0, max=64, help="Team size; 0 lets the seed draw it.")
    ] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, one after the other.")] = 1,
    trace: Annotated[bool, typer.Option("--trace", help="Print every fact of the run.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a team in a deterministic simulator that draws faults from a seed.

    Exit code 0 held, 3 crash, 4 no convergence, 5 invariant broken.
    """
    from protocol.sim.scenario import Verdict, simulate

    worst = Verdict.HELD
    rows = []
    for number in range(seed, seed + seeds):
        outcome = simulate(number, nodes or None)
        if trace:
            print("\n".join(outcome.trace))
        if as_json:
            rows.append(
                {
                    "seed": number,
                    "plan": str(outcome.plan),
                    "verdict": outcome.verdict.name.lower(),
                    "detail": outcome.detail,
                    "virtual_s": outcome.virtual_s,
                    "steps": outcome.steps,
                    "trace": outcome.trace_digest,
                }
            )
        else:
            if seeds == 1:
                print(f"plan: {outcome.plan}")
            print(outcome.summary())
        if outcome.verdict.value > worst.value:
            worst = outcome.verdict
    if as_json:
        print_json(rows)
    raise typer.Exit(worst.value)
