"""What a job did not bring: which of its tasks, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def shortcomings(
    tasks: Sequence[Mapping[str, Any]], is_over: bool = True
) -> Iterator[tuple[str, str]]:
    """Each task that was not accepted, with what became of it, to be read after its name. `tasks`
    are as a node's door shows them; `is_over` is False of a job that was not waited for."""
    for task in tasks:
        if task["abandoned"]:
            yield task["id"], f"abandoned: {task['abandoned']}"
        elif not task["accepted"] and is_over:
            yield task["id"], "out of reach: something it needs was abandoned"
        elif not task["accepted"]:
            yield task["id"], f"not done: {task['status']}"


__all__ = ["shortcomings"]
