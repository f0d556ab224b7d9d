from negate import negate


def test_negate_turns_the_sign():
    assert negate(6) == -6
    assert negate(-1.5) == 1.5
    assert negate(0) == 0
