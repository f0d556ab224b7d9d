from expect import near, raises
from trimmed_variance import trimmed_variance


def test_trimmed_variance_ignores_outliers():
    assert near(trimmed_variance([4, 8, 4, 8, 4, 8, 200]), 4.0)


def test_trimmed_variance_without_outliers_is_the_population_variance():
    assert near(trimmed_variance([2, 6]), 4.0)


def test_trimmed_variance_obeys_the_threshold_it_is_given():
    values = [4, 8, 4, 8, 4, 8, 202]
    assert near(trimmed_variance(values, 3.0), sum((x - 34) ** 2 for x in values) / 7)


def test_trimmed_variance_is_refused_when_nothing_is_left():
    assert raises(ValueError, trimmed_variance, [2, 6], 0.5)
