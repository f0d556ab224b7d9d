from is_positive import is_positive


def test_is_positive_holds_above_zero_only():
    assert is_positive(0.01) is True
    assert is_positive(12) is True
    assert is_positive(-12) is False
    assert is_positive(0) is False
