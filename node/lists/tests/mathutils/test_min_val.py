from min_val import min_val


def test_min_val_picks_the_smaller():
    assert min_val(3, 8) == 3
    assert min_val(8, 3) == 3
    assert min_val(-2.5, -7) == -7


def test_min_val_of_equals_is_either():
    assert min_val(4, 4) == 4
