"""Two nodes seldom claim one task at once: of sixteen, fewer than 2 of a hundred claims collide."""

from __future__ import annotations

import pytest

from node.lab import collisions
from node.lab.team_study import MODELS, TASKS
from node.lists import SUITES


@pytest.mark.parametrize("shape", ["p02", "p09"])  # the least and the most side by side
def test_claims_of_sixteen_nodes_seldom_collide(shape: str) -> None:
    """The lists of one shape, with the latencies of every model, by one simulated team."""
    found = collisions.simulated(16, shape, 1)
    assert found.claims >= len(SUITES) * len(MODELS) * TASKS, "no list was left out"
    assert found.is_good, found
