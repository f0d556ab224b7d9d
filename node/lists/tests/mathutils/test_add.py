from add import add


def test_add_sums_two_numbers():
    assert add(2, 3) == 5
    assert add(-7, 4) == -3


def test_add_keeps_fractions():
    assert add(0.25, 0.125) == 0.375
