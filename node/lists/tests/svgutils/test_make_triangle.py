from make_triangle import make_triangle


def test_make_triangle_is_a_polygon_of_three_corners():
    assert make_triangle(0, 1, 12, 3, 6.5, 8) == (
        '<polygon points="0,1 12,3 6.5,8" fill="none" stroke="black"/>'
    )


def test_make_triangle_hands_its_colors_on():
    assert make_triangle(1, 2, 3, 4, 5, 6, "pink", "gray") == (
        '<polygon points="1,2 3,4 5,6" fill="pink" stroke="gray"/>'
    )
