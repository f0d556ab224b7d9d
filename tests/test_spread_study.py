"""How news spreads when all is fixed: the graphs, the cuts, the runs, and the table of the verb."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from command_line import quorate, quorate_here

from protocol.clocks import MILLISECOND, SECOND
from protocol.errors import InvalidStudy
from protocol.gossip import fanout_of
from protocol.sim.studies.arrivals import NOT_THERE, Written
from protocol.sim.studies.cut_shapes import Cut, carrier, cut_of
from protocol.sim.studies.spread import Setting, median_of, run, started
from protocol.sim.studies.spread_table import heading, line_of, title
from protocol.sim.studies.stale_time import joined, stale_during
from protocol.sim.studies.staleness import staleness
from protocol.sim.studies.topology import Neighbours, Topology, topology_of

SMALL = Setting(nodes=12, writes=5, until_s=4)


def is_connected(known: Neighbours) -> bool:
    reached, edge = {0}, [0]
    while edge:
        edge = [other for node in edge for other in known[node] if other not in reached]
        reached.update(edge)
    return len(reached) == len(known)


@pytest.mark.parametrize("nodes", [3, 4, 7, 16, 33])
@pytest.mark.parametrize("text", ["full", "ring:1", "star", "grid", "random:2", "two:1"])
def test_every_topology_is_connected_and_goes_both_ways(text: str, nodes: int) -> None:
    known = topology_of(text).neighbours(nodes, Random(1))
    assert is_connected(known)
    for node, others in enumerate(known):
        assert node not in others
        assert list(others) == sorted(set(others))
        assert all(node in known[other] for other in others)


@pytest.mark.parametrize(
    ("text", "nodes", "degrees"),
    [
        ("full", 9, {8}),
        ("ring:1", 9, {2}),
        ("ring:3", 9, {6}),
        ("ring:4", 9, {8}),
        ("star", 9, {1, 8}),
        ("grid", 9, {2, 3, 4}),
        ("grid", 2, {1}),
        ("two:2", 9, {3, 4, 5}),
        ("two:1", 2, {1}),
        ("random:1", 2, {1}),
    ],
)
def test_everybody_knows_as_many_as_the_topology_says(
    text: str, nodes: int, degrees: set[int]
) -> None:
    known = topology_of(text).neighbours(nodes, Random(1))
    assert {len(others) for others in known} == degrees


def test_a_star_has_one_hub() -> None:
    known = topology_of("star").neighbours(6, Random(1))
    assert known[0] == (1, 2, 3, 4, 5)
    assert set(known[1:]) == {(0,)}


def test_two_halves_are_joined_by_so_many_links() -> None:
    known = topology_of("two:2").neighbours(8, Random(1))
    across = [(one, other) for one in range(4) for other in known[one] if other >= 4]
    assert across == [(0, 4), (1, 5)]


@pytest.mark.parametrize(("nodes", "degree"), [(5, 4), (10, 3), (9, 3), (40, 5), (41, 5), (12, 10)])
def test_a_random_graph_is_regular_but_for_an_odd_link(nodes: int, degree: int) -> None:
    odd = nodes * degree % 2
    for seed in range(20):
        known = Topology("random", degree).neighbours(nodes, Random(seed))
        assert is_connected(known)
        lacking = [degree - len(others) for others in known]
        assert sorted(lacking) == [0] * (nodes - odd) + [1] * odd
    assert known != Topology("random", degree).neighbours(nodes, Random(99)) or degree == nodes - 1


def test_halves_do_not_hear_each_other_while_they_are_cut() -> None:
    now = 0
    carries = carrier((cut_of("split:1:2"),), 4, lambda: now)
    across = [(0, 2), (1, 3), (3, 0)]
    assert all(carries(*link) for link in across)
    now = 1_000_000_000
    assert not any(carries(*link) for link in across)
    assert carries(0, 1)
    assert carries(3, 2)
    now = 2_000_000_000
    assert all(carries(*link) for link in across), "the end is not part of it"


@pytest.mark.parametrize(
    ("shape", "carried"),
    [
        ("split", {(0, 1), (1, 0), (2, 3), (3, 2), (2, 4), (4, 2), (3, 4), (4, 3)}),
        ("isolated", {(one, other) for one in range(4) for other in range(4) if one != other}),
        (
            "one_way",
            {(one, other) for one in range(5) for other in range(5) if one != other}
            - {(one, other) for one in (0, 1) for other in (2, 3, 4)},
        ),
        (
            "bridge",
            {(one, other) for one in range(5) for other in range(5) if one != other}
            - {(0, 3), (0, 4), (1, 3), (1, 4), (3, 0), (3, 1), (4, 0), (4, 1)},
        ),
    ],
)
def test_a_cut_leaves_what_its_shape_says(shape: str, carried: set[tuple[int, int]]) -> None:
    cut = Cut(shape, 0, 1)
    pairs = {(one, other) for one in range(5) for other in range(5) if one != other}
    assert {pair for pair in pairs if cut.carries(5, *pair)} == carried


def test_without_loss_all_know_it_long_before_the_first_round_is_over() -> None:
    row = run(SMALL, 1)
    assert row.writes == 20
    assert row.undelivered == 0
    assert row.rounds_max is not None
    assert row.rounds_max < 0.2
    assert row.pushed_share == 1
    assert row.cut_stale_max_s is row.level_after_heal_s is None
    assert row.messages_per_write * row.writes == sum(row.messages.values())
    assert row.bytes_per_node_second == pytest.approx(sum(row.sizes.values()) / 12 / row.virtual_s)


def test_loss_takes_longer_and_loses_nothing() -> None:
    clean, lossy = run(SMALL, 1), run(replace(SMALL, loss=0.4), 1)
    assert lossy.undelivered == 0
    assert clean.spread_ms_max is not None
    assert lossy.spread_ms_max is not None
    assert lossy.spread_ms_max > 10 * clean.spread_ms_max
    assert lossy.pushed_share < 1
    assert lossy.messages["Delta"] > clean.messages.get("Delta", 0)
    assert lossy.stale_max_s > clean.stale_max_s


@pytest.mark.parametrize("shape", ["split", "isolated", "one_way"])
def test_a_cut_lets_things_get_stale_and_heals(shape: str) -> None:
    row = run(replace(SMALL, cuts=(cut_of(f"{shape}:1:3"),)), 2)
    assert row.undelivered == 0
    assert row.cut_stale_max_s is not None
    assert row.level_after_heal_s is not None
    assert 1 < row.cut_stale_max_s <= 2
    assert 0 < row.level_after_heal_s < 2
    assert row.rounds_max is not None
    assert 5 < row.rounds_max < 20


def test_halves_that_share_a_node_lose_nothing_for_long() -> None:
    bridge, split = (
        run(replace(SMALL, cuts=(cut_of(f"{shape}:0:4"),)), 2) for shape in ("bridge", "split")
    )
    assert bridge.undelivered == 0
    assert bridge.cut_stale_max_s is not None
    assert split.cut_stale_max_s is not None
    assert bridge.cut_stale_max_s < split.cut_stale_max_s / 2


def test_a_cut_that_begins_after_the_last_write_is_waited_for() -> None:
    row = run(replace(SMALL, cuts=(cut_of("split:6:7"),)), 1)
    assert row.virtual_s >= 7
    assert row.level_after_heal_s == 0


def test_a_ring_takes_more_hops_and_time_than_a_full_graph() -> None:
    full, ring = run(SMALL, 1), run(replace(SMALL, topology=topology_of("ring:1")), 1)
    assert ring.hops_max > full.hops_max
    assert full.rounds_median is not None
    assert ring.rounds_median is not None
    assert ring.rounds_median > 2 * full.rounds_median
    assert ring.messages_per_write < full.messages_per_write


def test_in_a_star_all_is_two_hops_away() -> None:
    row = run(replace(SMALL, topology=topology_of("star")), 1)
    assert row.undelivered == 0
    assert row.hops_max == 2


def test_a_fan_out_is_exactly_what_is_asked_for() -> None:
    assert fanout_of(30, Setting(fanout=1).gossip) == 1
    assert fanout_of(30, Setting(fanout=20).gossip) == 20
    assert Setting(fanout=3).gossip.author_fanout == 3
    assert Setting(fanout=3, author_fanout=9).gossip.author_fanout == 9
    assert fanout_of(30, Setting().gossip) == 5
    narrow, wide = (run(replace(SMALL, fanout=fanout), 1) for fanout in (1, 6))
    assert wide.messages["Push"] > 3 * narrow.messages["Push"]
    assert wide.pushed_share > narrow.pushed_share


@pytest.mark.parametrize(("fanout", "share"), [(2, 0.797), (3, 0.940), (4, 0.980)])
def test_push_alone_reaches_as_many_as_the_theory_of_epidemics_says(
    fanout: int, share: float
) -> None:
    """The root of r = 1 - exp(-fr): Kermack and McKendrick's final size."""
    row = run(Setting(nodes=64, fanout=fanout), 0)
    assert row.pushed_share == pytest.approx(share, abs=0.02)


def test_a_large_value_is_announced_and_fetched() -> None:
    row = run(replace(SMALL, size=40_000), 1)
    assert row.undelivered == 0
    assert row.pushed_share == 0
    assert row.bytes_per_write > 11 * 40_000


def test_a_tick_is_the_length_of_a_round() -> None:
    slow = run(replace(SMALL, fanout=1, tick_ms=500), 1)
    assert slow.rounds_max is not None
    assert slow.spread_ms_max == pytest.approx(slow.rounds_max * 500)


def test_more_writes_than_a_node_may_make_at_once_are_all_there_in_the_end() -> None:
    """An exchange that cannot carry everything makes the writers slow down, and values wait."""
    row = run(Setting(nodes=4, writes=400, until_s=2, size=8_000, loss=0.3), 1)
    assert row.undelivered == 0
    assert 0 < row.writes <= 800


def test_the_same_seed_gives_the_same_row_and_another_seed_another() -> None:
    setting = replace(
        SMALL, topology=topology_of("random:3"), loss=0.1, cuts=(cut_of("split:1:2"),)
    )
    assert run(setting, 3) == run(setting, 3)
    assert run(setting, 3) != run(setting, 4)


def test_a_median_is_of_the_runs_that_have_the_number() -> None:
    row = run(SMALL, 1)
    rows = [replace(row, rounds_max=number) for number in (None, 1.0, 4.0, 2.0)]
    assert median_of(rows)["rounds_max"] == 2
    assert median_of(rows)["cut_stale_max_s"] is None


def test_staleness_grows_from_what_was_wanted_until_it_comes() -> None:
    """Two values of a key, wanted at 1 s and 2 s; the first waits for half a second."""
    wanted = {"k": [1 * SECOND, 2 * SECOND]}
    writes = [
        Written("k", at, array("q", times), array("H", [0, 1]), 0, 3)
        for at, times in (
            (SECOND * 3 // 2, [SECOND * 3 // 2, 3 * SECOND]),
            (2 * SECOND, [2 * SECOND, NOT_THERE]),
        )
    ]
    # At its author it is stale from 1 s to 1.5 s. The reader lacks the first value from 1 s to 3 s,
    # and then the second one, which was wanted at 2 s, until the end.
    whole = stale_during([(0, 5 * SECOND)], writes, wanted, 2)
    assert whole.max_s == 3
    assert whole.mean_s == pytest.approx((0.5**2 / 2 + 2**2 / 2 + (1 + 3) / 2 * 2) / (2 * 4))
    part = stale_during([(0, SECOND), (2 * SECOND, SECOND * 5 // 2)], writes, wanted, 2)
    assert part.max_s == 1.5
    assert part.mean_s == pytest.approx((1 + 1.5) / 2 * 0.5 / (2 * 0.5))


def test_staleness_is_what_readers_see() -> None:
    """The same as from looking into the stores at every hundredth of a second."""
    setting = replace(SMALL, loss=0.3, cuts=(cut_of("split:1:2"),))
    crowd, arrivals, load = started(setting, 1)
    seen = []
    while crowd.now < 3 * SECOND:
        crowd.run(crowd.now + 10 * MILLISECOND)
        late = staleness(crowd.places, load.wanted, crowd.now)
        seen.append((late.mean_s * len(load.wanted), late.max_s))
    found = stale_during([(0, crowd.now)], arrivals.writes, load.wanted, setting.nodes)
    key_seconds = sum((crowd.now - times[0]) / SECOND for times in load.wanted.values())
    assert found.mean_s == pytest.approx(
        sum(each for each, _ in seen) / 100 / key_seconds, rel=0.05
    )
    assert found.max_s == pytest.approx(max(late for _, late in seen), abs=0.011)


def test_spans_that_overlap_are_one() -> None:
    assert joined([(5, 6), (1, 3), (2, 4), (4, 5)]) == [(1, 6)]
    assert joined([(5, 6), (1, 3)]) == [(1, 3), (5, 6)]


def test_columns_of_a_cut_are_there_if_there_is_one() -> None:
    cut = replace(SMALL, cuts=(cut_of("split:1:2.5"),))
    assert "healed" in heading(cut)[0]
    assert "healed" not in heading(SMALL)[0]
    for setting in (SMALL, cut):
        assert len(line_of(setting, run(setting, 1))) == len(heading(setting)[1])
    assert title(cut).splitlines() == [
        "12 nodes, full: each knows 11; an author tells 11, others pass it on to 4",
        "a tick 200 ms, when quiet 1000 ms; delay 1 ms, loss 0 %; 5 writes/s of 100 bytes for 4 s",
        "cut split:1:2.5",
    ]


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        (Setting(nodes=8, topology=Topology("ring", 4)), "with 8 nodes K is 1 to 3"),
        (Setting(nodes=2, topology=Topology("ring", 1)), "2 nodes form no ring: take more"),
        (Setting(nodes=8, topology=Topology("random", 1)), "with 8 nodes D is 2 to 7"),
        (Setting(nodes=8, topology=Topology("two", 5)), "with 8 nodes B is 1 to 4"),
        (Setting(nodes=2, cuts=(Cut("bridge", 0, 1),)), "a bridge takes at least 3 nodes"),
        (Setting(cuts=(Cut("split", 0, 1),) * 17), "at most 16"),
        (Setting(quiet_tick_ms=100), "make it as long at least"),
        (Setting(fanout=4, author_fanout=2), "make its fan-out 4 at least"),
        (Setting(writes=0.05), "not even one: raise one"),
        (Setting(nodes=2_000, writes=1_000), "too many for one run: lower one"),
        (Setting(nodes=1_000, writes=100, size=60_000), "too many for one run: lower one"),
        (Setting(loss=float("nan")), "loss is nan: give a number"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(setting: Setting, complaint: str) -> None:
    with pytest.raises(InvalidStudy, match=complaint) as caught:
        run(setting, 1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("read", "text", "complaint"),
    [
        (topology_of, "hexagon", "there are full, ring:K, star, grid, random:D or two:B"),
        (topology_of, "", "there are full, ring:K"),
        (topology_of, "ring", "ring takes a number from 1, like ring:2"),
        (topology_of, "ring:0", "ring takes a number from 1, like ring:2"),
        (topology_of, "ring:-1", "ring takes a number from 1, like ring:2"),
        (topology_of, "ring:1:2", "ring takes a number from 1, like ring:2"),
        (topology_of, "star:2", "star takes no number"),
        (cut_of, "chasm:1:2", "shapes are split, isolated, one_way, bridge"),
        (cut_of, "split:1:2:3", "write SHAPE:FROM:TO, like split:4:8"),
        (cut_of, "split:a:b", "write SHAPE:FROM:TO, like split:4:8"),
        (cut_of, "split:2:1", "it begins at 0 s or later and ends after that"),
        (cut_of, "split:nan:2", "it begins at 0 s or later and ends after that"),
        (cut_of, "split:1:inf", "ends after that, by 3600 s"),
    ],
)
def test_a_shape_that_is_none_is_named(
    read: Callable[[str], object], text: str, complaint: str
) -> None:
    with pytest.raises(InvalidStudy, match=complaint) as caught:
        read(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("--topology hexagon", "topology 'hexagon': there are full, ring:K, star, grid"),
        ("--cut split:1", "write SHAPE:FROM:TO, like split:4:8"),
        ("--runs 101", "Invalid value for '--runs'"),
        ("--runs 1 --nodes 1", "Invalid value for '--nodes'"),
        ("--runs 1 --nodes 2001", "Invalid value for '--nodes'"),
        ("--runs 1 --until 4000", "Invalid value for '--until'"),
        ("--loss 1", "Invalid value for '--loss'"),
        ("--nodes 65", "65 is not in the range 0<=x<=64"),
        ("--loss 0.1 --swarm 3", "--swarm is for looking for faults, and --loss makes it"),
        ("--runs 2 --seeds 3", "take --runs for several of these"),
        ("--tick 100 --shrink", "leave one of them out"),
        ("--size 100 --only-faults none", "--only-faults is for looking for faults"),
        ("--writes 1 --plain disks", "--plain is for looking for faults"),
        ("--cut split:1:2 --diagram run.html", "--diagram is for looking for faults"),
    ],
)
def test_the_verb_refuses_in_one_line(words: str, complaint: str, tmp_path: Path) -> None:
    done = quorate_here("sim", *words.split(), folder=tmp_path)
    assert done.returncode == 2, done.stderr
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1
    assert not done.stdout


def test_the_verb_prints_a_row_for_each_run_and_their_median(tmp_path: Path) -> None:
    words = "sim --nodes 12 --topology ring:2 --fanout 3 --cut split:1:2 --until 3 --runs 3"
    done = quorate_here(*words.split(), "--seed", "5", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[5:10]] == ["seed", "5", "6", "7", "median"]
    assert done.stdout == quorate(*words.split(), "--seed", "5", folder=tmp_path).stdout


def test_the_verb_prints_the_rows_as_json(tmp_path: Path) -> None:
    words = "sim --nodes 6 --writes 2 --until 2 --runs 2 --cut isolated:0.5:1 --json"
    done = quorate_here(*words.split(), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [row["seed"] for row in found["rows"]] == [0, 1]
    assert found["setting"]["cuts"] == ["isolated:0.5:1"]
    assert found["median"]["writes"] == 4
    assert found["rows"][0]["messages"]["Push"] > 0


def test_what_is_not_everywhere_in_the_end_is_exit_code_4(tmp_path: Path) -> None:
    words = "sim --nodes 4 --fanout 1 --loss 0.99 --writes 4 --until 1"
    done = quorate_here(*words.split(), folder=tmp_path)
    assert done.returncode == 4
    assert "no convergence" in done.stdout
    assert "seed 0" in done.stdout


def test_help_shows_both_uses_under_their_headings(tmp_path: Path) -> None:
    shown = quorate_here("sim", "--help", folder=tmp_path).stdout
    search, study = shown.index("\nLooking for faults:"), shown.index("\nHow news spreads")
    assert shown.index("--until") < search < shown.index("--shrink") < study
    assert study < shown.index("--topology")
