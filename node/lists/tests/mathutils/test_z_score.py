from expect import near, raises
from z_score import z_score


def test_z_score_counts_deviations_from_the_mean():
    assert near(z_score(10, [2, 6]), 3.0)
    assert near(z_score(3, [2, 6]), -0.5)
    assert near(z_score(4, [2, 6]), 0.0)


def test_z_score_without_spread_is_refused():
    assert raises(ValueError, z_score, 5, [5, 5, 5])
    assert raises(ValueError, z_score, 1, [9])
