from expect import near, raises
from reciprocal import reciprocal


def test_reciprocal_divides_one_by_the_number():
    assert near(reciprocal(8), 0.125)
    assert near(reciprocal(-0.25), -4.0)


def test_reciprocal_of_zero_is_refused():
    assert raises(ValueError, reciprocal, 0)
    assert raises(ValueError, reciprocal, 0.0)
