from expect import near, raises
from trimmed_mean import trimmed_mean


def test_trimmed_mean_ignores_outliers():
    assert near(trimmed_mean([4, 8, 4, 8, 4, 8, 200]), 6.0)
    assert near(trimmed_mean([1, 2, 6]), 3.0)


def test_trimmed_mean_obeys_the_threshold_it_is_given():
    assert near(trimmed_mean([4, 8, 4, 8, 4, 8, 202], 3.0), 34.0)


def test_trimmed_mean_is_refused_when_nothing_is_left():
    assert raises(ValueError, trimmed_mean, [2, 6], 0.5)
    assert raises(ValueError, trimmed_mean, [])
