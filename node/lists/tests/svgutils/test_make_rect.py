from make_rect import make_rect


def test_make_rect_shows_position_and_size():
    assert make_rect(2, 3.5, 40, 10.0) == (
        '<rect x="2" y="3.5" width="40" height="10" fill="none" stroke="black"/>'
    )


def test_make_rect_takes_fill_before_stroke():
    assert make_rect(0, 0, 1, 2, "lime", "brown") == (
        '<rect x="0" y="0" width="1" height="2" fill="lime" stroke="brown"/>'
    )
