"""During a partial cut a team serves whoever can be served, and nobody campaigns for nothing."""

from __future__ import annotations

import pytest

from protocol.clocks import SECOND, Nanoseconds
from protocol.sim.availability import Measurement
from protocol.sim.partial_cuts import (
    DURATION_NS,
    SIZES,
    Availability,
    all_links,
    links_of,
    served,
)

SHORT: Nanoseconds = 10 * SECOND  # for cuts that change nothing from then on


def of_hearers(measurement: Measurement, found: Availability) -> float:
    """The mean over the nodes that can be answered at all."""
    shares = [share for number, share in enumerate(found.by_node) if number != measurement.leader]
    return sum(shares) / len(shares)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", ["chain3", "howard5", "ring5"])
def test_where_a_path_exists_everybody_is_served_and_no_term_ends(name: str, seed: int) -> None:
    found = Measurement(name, seed, duration=SHORT).run()
    assert found.mean == 1
    assert (found.term_growth, found.leaders_at_once) == (0, 1)


def test_who_is_two_hops_from_its_accuser_is_served_on() -> None:
    """SWIM's indirect probes go one hop: n4 held n3 to have failed, which the leader reached by way
    of n1, and so the leader sent it nothing any more."""
    found = Measurement("howard5", 11).run()
    assert found.mean == 1
    assert (found.term_growth, found.leaders_at_once) == (0, 1)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_hub_is_enough(seed: int) -> None:
    found = Measurement("star5", seed, duration=SHORT).run()
    assert found.any_node >= 0.98
    assert found.mean >= 0.98


@pytest.mark.parametrize("seed", [1, 2])
def test_a_link_that_comes_and_goes_disturbs_nobody(seed: int) -> None:
    found = Measurement("flapping", seed, duration=SHORT).run()
    assert found.mean == 1
    assert (found.term_growth, found.leaders_at_once) == (0, 1)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_leader_that_hears_nobody_gives_way(seed: int) -> None:
    measurement = Measurement("mute_in", seed)
    found = measurement.run()
    assert found.any_node == 1
    assert of_hearers(measurement, found) == 1
    assert (found.term_growth, found.leaders_at_once) == (1, 1)


def test_an_isolated_node_is_served_again_at_once_and_has_ended_no_term() -> None:
    measurement = Measurement("isolated", 1)
    found = measurement.run()
    assert found.any_node == 1
    assert found.mean >= 0.9
    assert (found.term_growth, found.leaders_at_once) == (0, 1)
    lonely = measurement.clients[0 if measurement.leader else 1]
    back_at = measurement.began + DURATION_NS // 2
    first = min(confirmed for asked, confirmed in lonely.confirmed if confirmed > back_at)
    assert first - back_at < SECOND
    for client in measurement.clients:
        late = [error for at, error in client.failed if at > back_at + SECOND]
        assert not late, "what is asked for, or waits, when it returns is done"
    others = [client for client in measurement.clients if client is not lonely]
    assert not any(client.failed for client in others)


def test_the_newest_log_wins_though_its_owner_sees_the_hub_only() -> None:
    measurement = Measurement("constrained", 1)
    found = measurement.run()
    assert found.any_node >= 0.98
    assert of_hearers(measurement, found) >= 0.98


# -- what is measured ------------------------------------------------------------------------------


def test_a_slot_is_served_by_a_write_that_was_not_waited_for_long() -> None:
    ms = SECOND // 1_000
    nodes = [
        [(0, 10 * ms), (400 * ms, 600 * ms), (0, 1_200 * ms)],
        [(0, 20 * ms), (1_900 * ms, 2_100 * ms)],
    ]
    assert served(nodes, 2 * SECOND) == (0.5, (0.5, 0.25))


@pytest.mark.parametrize("name", SIZES)
def test_a_cut_has_links_between_two_nodes_and_leaves_some(name: str) -> None:
    size = SIZES[name]
    for leader in range(size):
        for at in (0, SECOND, DURATION_NS - 1):
            assert links_of(name, size, leader, at) <= all_links(size)
            assert links_of(name, size, leader, at)


def test_an_unknown_cut_is_an_error() -> None:
    with pytest.raises(ValueError, match="chain3"):
        links_of("no such", 3, 0)
