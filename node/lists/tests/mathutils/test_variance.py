from expect import near, raises
from variance import variance


def test_variance_is_that_of_a_whole_population():
    assert near(variance([2, 6]), 4.0)
    assert near(variance([1, 4, 7, 8]), 7.5)


def test_variance_of_equal_values_is_zero():
    assert near(variance([5]), 0.0)
    assert near(variance([3, 3, 3]), 0.0)


def test_variance_of_nothing_is_refused():
    assert raises(ValueError, variance, [])
