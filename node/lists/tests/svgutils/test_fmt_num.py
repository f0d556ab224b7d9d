from fmt_num import fmt_num


def test_fmt_num_shows_whole_numbers_without_a_point():
    assert fmt_num(7.0) == "7"
    assert fmt_num(120) == "120"
    assert fmt_num(-3.0) == "-3"
    assert fmt_num(0.0) == "0"


def test_fmt_num_drops_trailing_zeros():
    assert fmt_num(2.5) == "2.5"
    assert fmt_num(-0.125) == "-0.125"
    assert fmt_num(10.25) == "10.25"


def test_fmt_num_rounds_to_four_places():
    assert fmt_num(1.23456) == "1.2346"
    assert fmt_num(0.00011) == "0.0001"


def test_fmt_num_drops_zeros_only_and_keeps_the_point():
    assert fmt_num(2.00001) == "2."
