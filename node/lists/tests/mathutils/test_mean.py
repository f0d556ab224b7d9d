from expect import near, raises
from mean import mean


def test_mean_divides_the_sum_by_the_count():
    assert near(mean([6, 7]), 6.5)
    assert near(mean([1.5, 2.5, 8.0]), 4.0)
    assert near(mean([-3]), -3.0)


def test_mean_of_nothing_is_refused():
    assert raises(ValueError, mean, [])
