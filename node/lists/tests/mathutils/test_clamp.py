from clamp import clamp


def test_clamp_leaves_what_lies_inside():
    assert clamp(4, 1, 9) == 4
    assert clamp(-0.5, -1, 1) == -0.5


def test_clamp_pulls_the_rest_to_the_nearer_bound():
    assert clamp(-3, 1, 9) == 1
    assert clamp(12.5, 1, 9) == 9


def test_clamp_includes_its_bounds():
    assert clamp(1, 1, 9) == 1
    assert clamp(9, 1, 9) == 9
