from abs_val import abs_val


def test_abs_val_drops_the_minus():
    assert abs_val(-6) == 6
    assert abs_val(-0.75) == 0.75


def test_abs_val_keeps_the_rest():
    assert abs_val(11) == 11
    assert abs_val(2.5) == 2.5
    assert abs_val(0) == 0
