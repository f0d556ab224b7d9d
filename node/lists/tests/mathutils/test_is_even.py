from is_even import is_even


def test_is_even_accepts_multiples_of_two():
    assert is_even(8) is True
    assert is_even(0) is True
    assert is_even(-4) is True


def test_is_even_rejects_the_others():
    assert is_even(7) is False
    assert is_even(-3) is False
    assert is_even(1) is False
