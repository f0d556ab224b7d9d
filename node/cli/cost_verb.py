"""The verb that tells what jobs have cost, by node, by task and by model."""

from __future__ import annotations

from collections.abc import Sequence
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
    plural,
    print_json,
    say,
)
from node.cli.costs import calls_text, cost_lines, money_text
from node.cli.job_verbs import view_of

ROWS_MAX = 40  # of one table; the dearest come first
_SUMMED = ("calls", "tokens_in", "tokens_out", "usd", "unpriced_tokens")


def cost(
    job: Annotated[str, typer.Argument(help="A job's id; the latest if left out.")] = "",
    all_jobs: Annotated[bool, typer.Option("--all", help="All jobs that the team has.")] = False,
    folder: DirOption = Path(DEFAULT_DIR),
    node: NodeOption = "",
    as_json: JsonOption = False,
) -> None:
    """What a job has cost by node, task and model: tokens, and money where prices are known.

    To judge answers counts for their task, to merge versions of a file for the last task of them.
    """
    if job and all_jobs:
        raise typer.BadParameter("name a job, or say --all")
    doors = doors_of(folder, node)
    if all_jobs:
        views = [view_of(doors, row["id"]) for row in execute(doors.get("/v1/jobs"))]
    else:
        views = [view_of(doors, job)]
    rows = [{"job": view["id"], **row} for view in views for row in view["costs"]]
    total = summed(rows)
    by = ("job", "node", "model") if all_jobs else ("node", "task", "model")
    if as_json:
        tables = {f"by_{column}": grouped(rows, column) for column in by}
        print_json({"total": total, **tables, "budgets": {v["id"]: v["budget"] for v in views}})
        return
    what = plural(len(views), "job") if all_jobs else views[0]["id"]
    say(f"{what}: {calls_text(total)}")
    for line in cost_lines(total, {} if all_jobs else views[0]["budget"]):
        say(line)
    for column in by if rows else ():
        _print_table(column, grouped(rows, column))


def summed(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The sum of some rows; simulated if one of them is."""
    total: dict[str, Any] = {name: sum(row[name] for row in rows) for name in _SUMMED}
    total["usd"] = round(total["usd"], 6)
    return {**total, "usd_is": "estimated", "simulated": any(row["simulated"] for row in rows)}


def grouped(rows: Sequence[dict[str, Any]], column: str) -> list[dict[str, Any]]:
    """The sums of the rows that have the same in a column, the dearest first."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row[column], []).append(row)
    sums = [{column: name, **summed(group)} for name, group in groups.items()]
    return sorted(sums, key=lambda row: (-row["usd"], -row["tokens_in"] - row["tokens_out"]))


def _print_table(column: str, rows: Sequence[dict[str, Any]]) -> None:
    say(f"by {column}:")
    for row in rows[:ROWS_MAX]:
        name = row[column] or ("the simulated model" if row["simulated"] else "no model")
        money = money_text(row)
        say(f"  {name:<28} {calls_text(row)}" + (f"; {money}" if money else ""))
    if len(rows) > ROWS_MAX:
        say(f"  and {len(rows) - ROWS_MAX} more (--json has all)")
