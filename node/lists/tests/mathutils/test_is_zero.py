from is_zero import is_zero


def test_is_zero_holds_for_zero_only():
    assert is_zero(0) is True
    assert is_zero(0.0) is True
    assert is_zero(5) is False
    assert is_zero(-5) is False
    assert is_zero(0.25) is False
