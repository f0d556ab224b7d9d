from expect import near
from half import half


def test_half_keeps_fractions():
    assert near(half(7), 3.5)
    assert near(half(-10), -5.0)
    assert near(half(0.5), 0.25)
