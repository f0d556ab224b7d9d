from expect import near, raises
from trimmed_z_score import trimmed_z_score


def test_trimmed_z_score_measures_by_the_rest():
    assert near(trimmed_z_score(8, [4, 8, 4, 8, 4, 8, 200]), 1.0)
    assert near(trimmed_z_score(200, [4, 8, 4, 8, 4, 8, 200]), 97.0)
    assert near(trimmed_z_score(3, [4, 8, 4, 8, 4, 8, 200]), -1.5)


def test_trimmed_z_score_obeys_the_threshold_it_is_given():
    assert near(trimmed_z_score(34, [4, 8, 4, 8, 4, 8, 202], 3.0), 0.0)


def test_trimmed_z_score_without_spread_is_refused():
    assert raises(ValueError, trimmed_z_score, 5, [1, 1, 1, 1, 1, 1, 60])
