from divide import divide
from expect import near, raises


def test_divide_keeps_fractions():
    assert near(divide(9, 4), 2.25)
    assert near(divide(-9, 4), -2.25)
    assert near(divide(0, 4), 0.0)


def test_divide_by_zero_is_refused():
    assert raises(ValueError, divide, 9, 0)
    assert raises(ValueError, divide, 0, 0.0)
