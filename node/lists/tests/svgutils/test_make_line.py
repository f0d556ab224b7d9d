from make_line import make_line


def test_make_line_joins_two_points():
    assert make_line(0, 1.5, 20.0, 30) == (
        '<line x1="0" y1="1.5" x2="20" y2="30" stroke="black" stroke-width="1"/>'
    )


def test_make_line_takes_color_and_width():
    assert make_line(1, 2, 3, 4, "teal", 5) == (
        '<line x1="1" y1="2" x2="3" y2="4" stroke="teal" stroke-width="5"/>'
    )
