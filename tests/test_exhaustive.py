"""The exhaustive search: it ends, loses nothing by its short cuts, and finds what it must find."""

from __future__ import annotations

import pytest

from protocol.sim.exhaustive import explore
from protocol.sim.small_bounds import Bounds

# Without a word about pre-votes they are granted unasked: the safety rules stand alone.
ONE_TERM = Bounds(terms=1, entries=0, pre_votes=False)
TWO_TERMS = Bounds(terms=2, entries=0, pre_votes=False)
# Figure 8 of the paper, (b) to (c): a's entry of term 2 and c's of term 3 are on no other disk yet.
FIGURE_8 = Bounds(
    terms=2, entries=0, pre_votes=False, append_single=True, logs=((1, 2), (1,), (1, 3))
)
# The voters shrink from three to one, by way of a joint configuration.
JOINT = Bounds(terms=2, entries=0, pre_votes=False, changes=1, resignations=1)


# -- it is complete --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bounds", "states"),
    [
        (Bounds(terms=1, entries=1), 18_137),
        (Bounds(terms=2, entries=0, pre_votes=False), 15_523),
        (Bounds(terms=1, entries=1, crashes=1, drops=1, pre_votes=False), None),
        (Bounds(terms=1, entries=0, crashes=1, slow_disks=True, pre_votes=False), None),
        (Bounds(terms=1, entries=0, duplicates=1, transfers=1, pre_votes=False), None),
        (Bounds(terms=1, entries=0, changes=1, pre_votes=False), None),
        (Bounds(nodes=2, terms=3, entries=1, crashes=1, overtaking=False), None),
        (Bounds(nodes=1, terms=2, entries=2, crashes=1, slow_disks=True), None),
    ],
    ids=str,
)
def test_no_interleaving_within_these_bounds_breaks_an_invariant(
    bounds: Bounds, states: int | None
) -> None:
    found = explore(bounds)
    print(found)
    assert found.exhausted, found
    assert not found.invariant
    assert found.frontier == 0
