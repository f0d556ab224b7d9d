from make_comment import make_comment


def test_make_comment_sets_its_text_off_by_spaces():
    assert make_comment("low water") == "<!-- low water -->"
    assert make_comment("2 piers") == "<!-- 2 piers -->"
