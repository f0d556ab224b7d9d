"""`quorate note`: tell the agents of a job something, or read what is known."""

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
    seconds_given,
)
from node.cli.job_verbs import view_of


def note(
    text: Annotated[
        str | None, typer.Argument(help="What to tell; what is known, if left out.")
    ] = None,
    job: Annotated[str, typer.Option(help="A job's id; the latest if left out.")] = "",
    task: Annotated[str, typer.Option(help="For this task and all that build on it.")] = "",
    path: Annotated[str, typer.Option(help="For tasks that write or see this file.")] = "",
    lasts: Annotated[
        str, typer.Option(metavar="10m", help="How long it holds; else as long as the job.")
    ] = "",
    folder: DirOption = Path(DEFAULT_DIR),
    node: NodeOption = "",
    as_json: JsonOption = False,
) -> None:
    """Tell the agents of a running job something that they may need, or list what was told."""
    from node.lab.door import route

    if task and path:
        raise typer.BadParameter("a note is about a task or a path, not both")
    if text is None and (task or path or lasts):
        raise typer.BadParameter("--task, --path and --lasts are of a note: say its text, too")
    if text is not None and not text.strip():
        raise typer.BadParameter("the note is empty: say something, or leave it out to list all")
    body: dict[str, object] = {"text": text}
    if task or path:
        body |= {"scope": "task" if task else "path", "about": task or path}
    if lasts:
        body["lifetime_s"] = seconds_given(lasts, "--lasts")
    doors = doors_of(folder, node)
    job_id = view_of(doors, job)["id"]
    if text is not None:
        where = route("jobs", job_id, "notes")
        with negative("NotPossible"):
            answer = execute(doors.first(lambda door: door.post(where, body)))
        print_json(answer) if as_json else say(f"noted for {job_id}")
        return
    notes = execute(doors.get(route("jobs", job_id, "notes")))
    if as_json:
        print_json(notes)
        return
    for each in notes:
        about = f" about {each['about']}" if each["about"] else ""
        say(f"{each['name']}{about}: {each['text']}")
