from sign import sign


def test_sign_tells_the_side_of_zero():
    assert sign(41) == 1
    assert sign(0.001) == 1
    assert sign(-0.5) == -1
    assert sign(-9) == -1


def test_sign_of_zero_is_zero():
    assert sign(0) == 0
    assert sign(0.0) == 0
