from make_svg import make_svg


def test_make_svg_wraps_its_children_in_one_group():
    assert make_svg(320, 200, ["<a/>", "<b/>"]) == (
        '<svg width="320" height="200" xmlns="http://www.w3.org/2000/svg"><g><a/><b/></g></svg>'
    )


def test_make_svg_puts_the_title_first():
    assert make_svg(10, 20, ["<a/>"], "Tides") == (
        '<svg width="10" height="20" xmlns="http://www.w3.org/2000/svg">'
        "<title>Tides</title><g><a/></g></svg>"
    )
