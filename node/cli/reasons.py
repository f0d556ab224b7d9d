"""Why something failed, as it stands in a table: a reason may be as long as what a program said.

Invariant: the first line, which says what became of it, and the last ones, which say why, are
shown whole or with both their ends; every line but the first is indented.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

LINES_MAX = 5  # of one reason: the first, and the last ones
LINE_SIZE_MAX = 200  # characters
LEFT_OUT = "..."
_INDENT = "\n      | "


def in_table(reason: str) -> str:
    """The reason in few lines, to be printed after a task's name."""
    from node.prompt.shown import shorten

    lines = [line.rstrip() for line in reason.strip().splitlines() if line.strip()]
    if len(lines) > LINES_MAX:
        first = lines[0].removesuffix(LEFT_OUT).rstrip()  # where it was cut already
        lines = [first, LEFT_OUT, *lines[2 - LINES_MAX :]]
    return _INDENT.join(shorten(line, LINE_SIZE_MAX) for line in lines)


def is_cut(reason: str) -> bool:
    """Whether `in_table` leaves something out, or what it is given was cut before."""
    shown = in_table(reason).split(_INDENT)
    return LEFT_OUT in shown or any(f" {LEFT_OUT} " in line for line in shown)


def last_line(reason: str) -> str:
    """The line that says why, with both its ends."""
    from node.prompt.shown import shorten

    lines = [line.strip() for line in reason.splitlines() if line.strip()]
    return shorten(lines[-1], LINE_SIZE_MAX) if lines else ""


def where_all_is(task: str, job: str) -> str:
    """How to see what was left out."""
    given = shlex.join(["why", task, "--job", job])
    return f"the whole of what is cut short here ({LEFT_OUT}): quorate {given}"


def first_cut(reasons: Sequence[tuple[str, str]]) -> str:
    """Of tasks with their reasons the first one that is not shown whole; empty if all are."""
    return next((task for task, reason in reasons if is_cut(reason)), "")
