from is_negative import is_negative


def test_is_negative_holds_below_zero_only():
    assert is_negative(-0.01) is True
    assert is_negative(-12) is True
    assert is_negative(12) is False
    assert is_negative(0) is False
