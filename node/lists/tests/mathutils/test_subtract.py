from subtract import subtract


def test_subtract_takes_the_second_from_the_first():
    assert subtract(9, 4) == 5
    assert subtract(4, 9) == -5
    assert subtract(1.75, 0.5) == 1.25
