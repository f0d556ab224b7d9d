from square import square


def test_square_multiplies_a_number_by_itself():
    assert square(9) == 81
    assert square(-3) == 9
    assert square(0.5) == 0.25
    assert square(0) == 0
