from make_circle import make_circle


def test_make_circle_shows_center_and_radius():
    assert make_circle(15, 2.25, 6.0) == (
        '<circle cx="15" cy="2.25" r="6" fill="none" stroke="black"/>'
    )


def test_make_circle_takes_fill_before_stroke():
    assert make_circle(1, 2, 3, "lime", "brown") == (
        '<circle cx="1" cy="2" r="3" fill="lime" stroke="brown"/>'
    )
