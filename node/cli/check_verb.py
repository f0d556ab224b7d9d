"""`quorate check`: is what clients saw linearizable?"""

from __future__ import annotations

import time
from collections.abc import Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from node.cli.console import JsonOption, plural, print_json

if TYPE_CHECKING:
    from protocol.sim.linearizable import CounterExample, Operation, Report

KEYS_SHOWN_MAX = 5
ORDER_SHOWN_MAX = 50  # in JSON, the last ones
EXIT_CODES = {"true": 0, "false": 1, "unknown": 3}


def check(
    history: Annotated[
        Path,
        typer.Argument(help="A history: EDN as Jepsen writes it, or JSON lines with its fields."),
    ],
    as_json: JsonOption = False,
    budget: Annotated[
        int, typer.Option(min=1, metavar="STEPS", help="How many operations to look at.")
    ] = 20_000_000,
) -> None:
    """Check whether a history of registers is linearizable.

    Exit code 0 true, 1 false, 2 not a history, 3 unknown: the budget did not suffice.
    """
    from node.lab import histories
    from protocol.sim.linearizable import Budget
    from protocol.sim.linearizable import check as check_operations

    begun = time.monotonic()
    operations = histories.read(history)
    report = check_operations(operations, Budget(steps_max=budget))
    seconds = time.monotonic() - begun
    if as_json:
        print_json(_as_json(report, seconds))
    else:
        print(f"{report.verdict.value}: {_counted(operations, report)}, {seconds:.2f} s")
        if report.counter_example is not None:
            print("\n".join(report.counter_example.lines()))
        if report.verdict.value == "unknown":
            print(f"undecided: {_keys(report.undecided)}; give more steps with --budget")
    raise typer.Exit(EXIT_CODES[report.verdict.value])


def _counted(operations: list[Operation], report: Report) -> str:
    outcomes = [op.outcome.value for op in operations]
    parts = [f"{outcomes.count(kind)} {kind}" for kind in ("failed", "unknown")]
    return (
        f"{plural(report.operations, 'operation')} ({', '.join(parts)}) "
        f"on {plural(report.keys, 'key')}, {plural(report.steps, 'step')}"
    )


def _keys(keys: tuple[Hashable, ...]) -> str:
    from protocol.sim.linearizable import key_shown

    named = ", ".join(key_shown(key) for key in keys[:KEYS_SHOWN_MAX])
    more = len(keys) - KEYS_SHOWN_MAX
    return f"{named} and {more} more" if more > 0 else named


def _as_json(report: Report, seconds: float) -> dict[str, Any]:
    return {
        "verdict": report.verdict.value,
        "operations": report.operations,
        "keys": report.keys,
        "steps": report.steps,
        "seconds": round(seconds, 3),
        "undecided": list(report.undecided) if report.verdict.value == "unknown" else [],
        "counter_example": _example(report.counter_example),
    }


def _example(example: CounterExample | None) -> dict[str, Any] | None:
    if example is None:
        return None
    return {
        "key": example.key,
        "operations": example.operations,
        "order_left_out": max(0, len(example.order) - ORDER_SHOWN_MAX),
        "order": [_operation(op) for op in example.order[-ORDER_SHOWN_MAX:]],
        "value": example.value,
        "stuck": [_operation(op) for op in example.stuck],
        "enough": [_operation(op) for op in example.enough],
    }


def _operation(op: Operation) -> dict[str, Any]:
    return {
        "process": op.process,
        "f": op.kind.value,
        "argument": op.argument,
        "result": op.result,
        "outcome": op.outcome.value,
        "called_ns": op.called_ns,
        "returned_ns": op.returned_ns,
    }
