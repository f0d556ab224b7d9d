from fmt_coord import fmt_coord


def test_fmt_coord_joins_two_numbers_by_a_comma():
    assert fmt_coord(3, 40) == "3,40"
    assert fmt_coord(-0.5, 7.25) == "-0.5,7.25"


def test_fmt_coord_shows_whole_numbers_without_a_point():
    assert fmt_coord(6.0, 100.0) == "6,100"
