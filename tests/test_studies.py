"""The studies at a small scale: what they measure is there, and points the right way."""

from __future__ import annotations

import json
from pathlib import Path

from command_line import quorate_here

from node.lab import figures, joining
from protocol.clocks import SECOND
from protocol.sim.studies import hyparview, lifeguard, plumtree, swim
from protocol.sim.studies.table import Line, Study
from protocol.sim.studies.townships import acquainted


def test_first_detection_and_load_are_those_of_swim() -> None:
    found = swim.study(sizes=(16,), crashes=24)
    assert found.holds, found.text()


def test_a_tree_has_no_redundancy() -> None:
    found = plumtree.study(nodes=200)
    assert found.holds, found.text()


def test_who_stood_still_makes_nobody_fail_among_the_others() -> None:
    """Its verdicts of that time come all at once, when it goes on."""
    counts = {}
    for name, config in (("ours", lifeguard.OURS), ("swim", lifeguard.SWIM)):
        failures = lifeguard.Failures(28)
        crowd = acquainted(32, "still", config, failures.see)
        crowd.run(lifeguard.SETTLED_NS)
        failures.slow = frozenset(place.node for place in crowd.places[:4])
        for place in crowd.places[:4]:
            crowd.hold(place, timers_too=False)
        crowd.run(crowd.now + 12 * SECOND)
        for place in crowd.places[:4]:
            crowd.release(place)
        crowd.run(crowd.now + 3 * SECOND)
        counts[name] = failures.false_by_healthy
    assert counts["swim"] > 50
    assert counts["ours"] == 0


def test_who_joins_by_one_address_becomes_one_team() -> None:
    found = joining.study(nodes=300)
    assert found.holds, found.text()
    assert [line.ours for line in found.lines if "connected" in line.what] == ["300", "300"]


def test_who_is_apart_never_becomes_one_team() -> None:
    country = hyparview.joined(30, seed=1)
    country.crowd.carries = lambda sender, receiver: 29 not in (sender, receiver)
    assert joining.seconds_to_converge(country) is None


def test_figures_are_taken() -> None:
    assert figures.merge_seconds(2_000, seed=1, per_batch=100) > 0
    assert figures.crowd_seconds(16, seed=1) > 0


def test_a_table_says_what_is_missed() -> None:
    lines = (Line("a", "1", "2", True), Line("bb", "3", "2", False), Line("c", "4"))
    found = Study("x", "Title", lines)
    assert not found.holds
    assert found.text().splitlines() == [
        "Title",
        "",
        "    ours  published",
        "a   1     2          holds",
        "bb  3     2          MISSED",
        "c   4",
    ]


def test_an_unknown_study_is_a_usage_error(tmp_path: Path) -> None:
    done = quorate_here("study", "nothing", folder=tmp_path)
    assert done.returncode == 2
    assert "plumtree" in done.stderr
    assert not done.stdout


def test_a_study_as_json(tmp_path: Path) -> None:
    done = quorate_here("study", "plumtree", "--json", folder=tmp_path)
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert found["holds"] is True
    assert found["lines"][0]["published"] == "3"
