from expect import near, raises
from trimmed_std import trimmed_std


def test_trimmed_std_ignores_outliers():
    assert near(trimmed_std([4, 8, 4, 8, 4, 8, 200]), 2.0)


def test_trimmed_std_obeys_the_threshold_it_is_given():
    values = [4, 8, 4, 8, 4, 8, 202]
    assert near(trimmed_std(values, 3.0), (sum((x - 34) ** 2 for x in values) / 7) ** 0.5)


def test_trimmed_std_is_refused_when_nothing_is_left():
    assert raises(ValueError, trimmed_std, [2, 6], 0.5)
