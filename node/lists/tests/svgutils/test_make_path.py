from make_path import make_path


def test_make_path_shows_its_data_as_given():
    assert make_path("M 2 3 l 8.50 9 z") == (
        '<path d="M 2 3 l 8.50 9 z" fill="none" stroke="black"/>'
    )


def test_make_path_takes_fill_before_stroke():
    assert make_path("M0 0", "lime", "brown") == '<path d="M0 0" fill="lime" stroke="brown"/>'
