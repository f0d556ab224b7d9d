"""What a job did not bring: which of its tasks, which files that nobody could merge, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from node.cli.reasons import first_cut, in_table

OUT_OF_REACH = "out of reach"


def shortcomings(
    tasks: Sequence[Mapping[str, Any]], is_over: bool = True
) -> Iterator[tuple[str, str]]:
    """Each task that was not accepted, with what became of it, to be read after its name. `tasks`
    are as a node's door shows them; `is_over` is False of a job that was not waited for."""
    for task in tasks:
        if task["abandoned"]:
            yield task["id"], f"abandoned: {in_table(task['abandoned'])}"
        elif not task["accepted"] and is_over:
            yield task["id"], f"{OUT_OF_REACH}: something it needs was abandoned"
        elif not task["accepted"]:
            yield task["id"], f"not done: {task['status']}"


def told_in_full(tasks: Sequence[Mapping[str, Any]], merges: Sequence[Mapping[str, Any]]) -> str:
    """The task of which `quorate why` tells more than was said here; empty if there is none."""
    reasons = [(task["id"], task["abandoned"]) for task in tasks]
    merged = [(merge["tasks"][-1], merge["fault"]) for merge in merges]
    return first_cut([*reasons, *merged])


def unmerged(merges: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line for each file whose versions nobody could merge; `merges` as a node's door shows
    them."""
    yield from (merge_line(merge) for merge in merges if merge["fault"])


def merge_line(merge: Mapping[str, Any]) -> str:
    """What became of some versions of a file."""
    became = (
        f"not merged: {in_table(merge['fault'])}"
        if merge["fault"]
        else f"merged by {merge['name']}"
    )
    if merge["waits"]:
        became += ", which another node has yet to check"
    return f"{merge['path']} of {', '.join(merge['tasks'])}: {became}"


__all__ = ["OUT_OF_REACH", "merge_line", "shortcomings", "told_in_full", "unmerged"]
