from make_ellipse import make_ellipse


def test_make_ellipse_shows_center_and_both_radii():
    assert make_ellipse(9, 8.5, 7.0, 6) == (
        '<ellipse cx="9" cy="8.5" rx="7" ry="6" fill="none" stroke="black"/>'
    )


def test_make_ellipse_takes_fill_before_stroke():
    assert make_ellipse(1, 2, 3, 4, "lime", "brown") == (
        '<ellipse cx="1" cy="2" rx="3" ry="4" fill="lime" stroke="brown"/>'
    )
