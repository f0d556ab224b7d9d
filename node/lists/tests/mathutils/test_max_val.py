from max_val import max_val


def test_max_val_picks_the_larger():
    assert max_val(3, 8) == 8
    assert max_val(8, 3) == 8
    assert max_val(-2.5, -7) == -2.5


def test_max_val_of_equals_is_either():
    assert max_val(4, 4) == 4
