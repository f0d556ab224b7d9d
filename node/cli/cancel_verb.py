"""The verb `cancel`: let a job end before it is done."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
    say_beside,
)
from node.cli.job_verbs import view_of


def cancel(
    job: Annotated[str, typer.Argument(help="A job's id; the latest if left out.")] = "",
    reason: Annotated[str, typer.Option(help="Why, for who looks at it later.")] = "",
    folder: DirOption = Path(DEFAULT_DIR),
    node: NodeOption = "",
    as_json: JsonOption = False,
) -> None:
    """End a job that goes on: its agents are stopped and what is open is given up; what was
    accepted stays, and 'quorate submit --resume' goes on with it."""
    from node.lab import following

    doors = doors_of(folder, node)
    job_id = view_of(doors, job)["id"]
    with negative("NotPossible"):
        execute(following.cancel(doors, job_id, reason, say_beside))
    view = execute(doors.await_end(job_id))
    if as_json:
        print_json(view)
        return
    accepted = sum(task["accepted"] is not None for task in view["tasks"])
    if view["succeeded"]:
        say(f"{job_id} was done already")
    else:
        say(f"cancelled {job_id}: {accepted} of {len(view['tasks'])} tasks are accepted and kept")
