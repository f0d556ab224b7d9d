from make_polygon import make_polygon


def test_make_polygon_is_an_outline_by_default():
    assert make_polygon([(0, 0), (9, 0), (4.5, 6)]) == (
        '<polygon points="0,0 9,0 4.5,6" fill="none" stroke="black"/>'
    )


def test_make_polygon_takes_fill_before_stroke():
    assert make_polygon([(1, 2), (3, 4)], "gold", "navy") == (
        '<polygon points="1,2 3,4" fill="gold" stroke="navy"/>'
    )
