"""The leader's work does not grow with the team: whoever does not vote learns from others."""

from __future__ import annotations

from protocol.sim.traffic import measure


def test_a_leader_of_thirty_sends_and_receives_no_more_than_a_leader_of_five() -> None:
    few, many = measure(size=5, seed=1), measure(size=30, seed=1)
    assert many.agreement < 1.2 * few.agreement
    assert many.everything < 1.3 * few.everything
    assert many.lag_s < 1, "and yet everybody has everything soon"


def test_a_node_of_a_large_team_has_no_more_to_do_than_its_leader() -> None:
    many = measure(size=30, seed=2)
    assert many.mean_everything < many.everything
