from make_labeled_group import make_labeled_group


def test_make_labeled_group_puts_the_label_last():
    assert make_labeled_group(["<a/>", "<b/>"], "Pier", 3, 4.5) == (
        '<g><a/><b/><text x="3" y="4.5" font-size="12" fill="black">Pier</text></g>'
    )


def test_make_labeled_group_leaves_its_children_alone():
    children = ["<a/>"]
    make_labeled_group(children, "Pier", 0, 0)
    assert children == ["<a/>"]
