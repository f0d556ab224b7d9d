from make_polyline import make_polyline


def test_make_polyline_is_black_thin_and_open():
    assert make_polyline([(0, 5), (7.5, 2)]) == (
        '<polyline points="0,5 7.5,2" stroke="black" stroke-width="1" fill="none"/>'
    )


def test_make_polyline_takes_color_and_width():
    assert make_polyline([(1, 1), (2, 3)], "teal", 4) == (
        '<polyline points="1,1 2,3" stroke="teal" stroke-width="4" fill="none"/>'
    )
