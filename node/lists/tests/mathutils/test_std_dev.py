from expect import near, raises
from std_dev import std_dev


def test_std_dev_is_the_root_of_the_population_variance():
    assert near(std_dev([2, 6]), 2.0)
    assert near(std_dev([10, 20, 30, 40, 50]), 200**0.5)


def test_std_dev_of_equal_values_is_zero():
    assert near(std_dev([7, 7]), 0.0)


def test_std_dev_of_nothing_is_refused():
    assert raises(ValueError, std_dev, [])
