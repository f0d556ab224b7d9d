"""Two nodes seldom claim one task at once: of sixteen, fewer than 2 of a hundred claims collide."""

from __future__ import annotations

from node.lab import collisions
from node.lab.team_study import MODELS, TASKS
from node.lists import SUITES


def test_claims_of_sixteen_nodes_seldom_collide() -> None:
    """The lists with most side by side, with the latencies of every model, by one simulated team.
    `scripts/trials.py collisions` has all of them."""
    found = collisions.simulated(16, "p09", 1)
    assert found.claims >= len(SUITES) * len(MODELS) * TASKS, "no list was left out"
    assert found.is_good, found
