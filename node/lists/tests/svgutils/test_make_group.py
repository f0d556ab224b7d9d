from make_group import make_group


def test_make_group_joins_its_children():
    assert make_group(["<a/>", "<b/>", "<c/>"]) == "<g><a/><b/><c/></g>"
    assert make_group([]) == "<g></g>"


def test_make_group_shows_a_transform_when_there_is_one():
    assert make_group(["<a/>"], "rotate(45)") == '<g transform="rotate(45)"><a/></g>'
    assert make_group(["<a/>"], transform="") == "<g><a/></g>"
