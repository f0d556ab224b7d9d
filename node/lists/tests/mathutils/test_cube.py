from cube import cube


def test_cube_is_the_third_power():
    assert cube(4) == 64
    assert cube(-2) == -8
    assert cube(0.5) == 0.125
