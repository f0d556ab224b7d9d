"""The verb `why`: how a task came to be done, or why it is not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.console import (
    DEFAULT_DIR,
    DirOption,
    JsonOption,
    NodeOption,
    doors_of,
    execute,
    print_json,
    say,
)

if TYPE_CHECKING:
    from node.lab.story.telling import Line, Story

CONCURRENT = "||"
FOOTNOTE = (
    f"{CONCURRENT} neither before nor after the line above it; times are each node's own clock"
)


def why(
    task: Annotated[str, typer.Argument(help="A task's id.")],
    job: Annotated[
        str, typer.Option("--job", help="A job's id; the latest with such a task if left out.")
    ] = "",
    folder: DirOption = Path(DEFAULT_DIR),
    node: NodeOption = "",
    as_json: JsonOption = False,
) -> None:
    """Why a task is done, or is not: who claimed it, what its check said, what the log accepted.

    Asks all nodes of the team; of those that do not run, the files in the team's folder serve."""
    from node.lab.cluster import Cluster
    from node.lab.story.sources import Source, sources_of, story_of

    if node:
        doors = doors_of(folder, node)
        sources, token = [Source(node, doors.addresses[0])], doors.token
    else:
        cluster = Cluster.load(folder)
        sources = sources_of(cluster)
        token = cluster.token if cluster.running() else ""
    story = execute(story_of(task, job, sources, token))
    if as_json:
        print_json(asdict(story))
    else:
        for line in lines_of(story):
            say(line)


def lines_of(story: Story) -> Iterator[str]:
    """The story for people: attempt by attempt, then how the task stands."""
    yield f"{story.job}, task {story.task}{_day(story)}"
    for heading in story.heading:
        yield f"  {heading}"
    for part in story.parts:
        yield ""
        if part.title:
            yield part.title
        for line in part.lines:
            yield from _lines(line)
    yield ""
    if any(line.is_concurrent for part in story.parts for line in part.lines):
        yield FOOTNOTE
    yield from story.remarks
    yield story.summary
    for waiting in story.waits_for:
        yield f"  {waiting}"


def _lines(line: Line) -> Iterator[str]:
    from node.telemetry import clock_of

    beside = CONCURRENT if line.is_concurrent else ""
    yield f"  {clock_of(line.at_s)} {beside:<2} {line.who:<7} {line.mark} {line.text}"
    for said in line.said:
        yield f"{'':<28}| {said}".rstrip()


def _day(story: Story) -> str:
    times = [line.at_s for part in story.parts for line in part.lines]
    return time.strftime(", %Y-%m-%d", time.localtime(min(times))) if times else ""
