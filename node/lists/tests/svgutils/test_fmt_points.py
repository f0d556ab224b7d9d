from fmt_points import fmt_points


def test_fmt_points_joins_points_by_a_space():
    assert fmt_points([(1, 2), (30, 40), (5, 6)]) == "1,2 30,40 5,6"
    assert fmt_points([(0.5, 2.0), (-3, 4.75)]) == "0.5,2 -3,4.75"


def test_fmt_points_of_one_or_none_has_no_space():
    assert fmt_points([(8, 9)]) == "8,9"
    assert fmt_points([]) == ""
