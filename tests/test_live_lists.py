"""The nine lists on real processes: what a run comes to, the table, and that it ends in time."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from node.lab import live_lists
from node.lab.live_lists import Cell, Figures
from protocol.jobs import ClaimMode

LEASE = Cell(3, ClaimMode.LEASE)


def run(source: str, speed_up: float, cell: Cell = LEASE, **more: Any) -> Figures:
    good = Figures(cell, source, True, 4.0, speed_up, 1.0, 1, 2, 50.0)
    return replace(good, **more)


def test_a_row_has_the_medians_of_the_good_and_the_sums_of_all() -> None:
    runs = [
        run("mathutils_p09", 2.0),
        run("salesdata_p09", 4.0, tokens=1.5, messages=90.0),
        run("svgutils_p09", 3.0),
        run("mathutils_p02", 9.0, is_good=False),
    ]
    assert live_lists.table(runs)[-1] == (
        "| lease | 3 | 3 of 4 | 3.00 | - | - | 1.00 | 4 | 8 | 50 |"
    )


def test_every_team_has_a_row_of_its_own() -> None:
    other = Cell(8, ClaimMode.RAFT)
    rows = live_lists.table([run("mathutils_p05", 2.0), run("mathutils_p05", 3.0, other)])
    assert [row.split(" | ")[4] for row in rows[2:]] == ["2.00", "3.00"]


def test_a_list_is_named_by_its_file_and_not_by_its_folder() -> None:
    assert "| - | - | 2.00 |" in live_lists.table([run("lists-of-p09/mathutils_p02.json", 2.0)])[-1]


async def test_what_is_not_begun_in_time_is_told_and_not_good() -> None:
    late = time.monotonic() - 1.0
    found = [each async for each in live_lists.measure(LEASE, ["a", "b"], 20.0, 1, late)]
    assert [each.source for each in found] == ["a", "b"]
    assert not any(each.is_good for each in found)
    assert "not begun" in str(found[0])


async def test_after_a_run_that_went_wrong_the_others_are_done(tmp_path: Path) -> None:
    """There is no such list: that run ends before its team has started."""
    small = tmp_path / "small.yaml"
    small.write_text(
        "{job: small, defaults: {agent: command, run: date}, tasks: [{id: a, writes: [a.txt]}]}"
    )
    until = time.monotonic() + 60.0
    cell = Cell(1, ClaimMode.LEADER)
    sources = ["no_such_list", str(small)]
    wrong, right = [each async for each in live_lists.measure(cell, sources, 100.0, 1, until)]
    assert not wrong.is_good
    assert "no_such_list" in wrong.detail
    assert right.is_good, right
    assert right.makespan_s > 0.0
    assert right.messages == 0.0
