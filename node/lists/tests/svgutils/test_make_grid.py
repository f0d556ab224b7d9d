from make_grid import make_grid


def places_of(svg):
    """The text without spaces after commas: both spellings place a cell alike."""
    return svg.replace(", ", ",")


def test_make_grid_fills_row_after_row():
    assert places_of(make_grid(["<a/>", "<b/>", "<c/>"], 2, 30, 50)) == (
        '<g><g transform="translate(0,0)"><a/></g>'
        '<g transform="translate(30,0)"><b/></g>'
        '<g transform="translate(0,50)"><c/></g></g>'
    )


def test_make_grid_of_one_column_goes_down():
    assert places_of(make_grid(["<a/>", "<b/>"], 1, 30, 50)) == (
        '<g><g transform="translate(0,0)"><a/></g><g transform="translate(0,50)"><b/></g></g>'
    )
