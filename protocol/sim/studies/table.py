"""A study's result: our numbers, each beside the published one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Line:
    """One number. `published` is theirs, or the goal; empty if there is none. `holds` is whether
    ours is at least as good; None if there is nothing to compare."""

    what: str
    ours: str
    published: str = ""
    holds: bool | None = None


@dataclass(frozen=True, slots=True)
class Study:
    """Lines under a title that names the source."""

    name: str
    title: str
    lines: tuple[Line, ...]

    @property
    def holds(self) -> bool:
        """Whether no number is worse than the published one."""
        return all(line.holds is not False for line in self.lines)

    def text(self) -> str:
        """A table for the eye."""
        rows = [("", "ours", "published", "")]
        rows += [(line.what, line.ours, line.published, _SIGNS[line.holds]) for line in self.lines]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        shown = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        return "\n".join([self.title, "", *shown])


_SIGNS = {True: "holds", False: "MISSED", None: ""}
