"""Files that a program wrote and its task does not: nobody gets them, which it shall know.

Many a program leaves something behind that nobody wants, so this is no failure; but where a file of
the task is missing, one of these may be what it is.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from node.legible import legible

NAMED_MAX = 5
LOOKED_AT_MAX = 10_000  # names in the folder, those that were given among them


def left_behind(workspace: Path, known: Collection[str]) -> str:
    """Names of the files in the folder that are not `known`, for people; empty if there are none.
    What begins with a dot or an underscore pair is a program's own business."""
    found = [path for path in _paths(workspace) if path not in known]
    if not found:
        return ""
    more = f" and {len(found) - NAMED_MAX} more" if len(found) > NAMED_MAX else ""
    return legible(", ".join(found[:NAMED_MAX])) + more


def as_remedy(left: str) -> str:
    """What to do about them."""
    return f"it wrote {left}, which the task does not write: list it under 'writes'"


def _paths(workspace: Path) -> Iterator[str]:
    """As many as are looked at, in order."""
    looked_at = 0
    for directory, folders, files in os.walk(workspace):
        folders[:] = sorted(name for name in folders if not _is_private(name))
        for name in sorted(files):
            looked_at += 1
            if looked_at > LOOKED_AT_MAX:
                return
            if not _is_private(name):
                yield (Path(directory) / name).relative_to(workspace).as_posix()


def _is_private(name: str) -> bool:
    return name.startswith((".", "__"))
