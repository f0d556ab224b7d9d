from double import double


def test_double_gives_twice_the_number():
    assert double(7) == 14
    assert double(-0.75) == -1.5
    assert double(0) == 0
