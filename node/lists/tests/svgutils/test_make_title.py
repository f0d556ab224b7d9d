from make_title import make_title
from shapes import elements_of


def test_make_title_is_bold_and_centered():
    (attributes,) = elements_of(make_title("Tides", 50, 12.5), "text")
    assert attributes["font-weight"] == "bold"
    assert attributes["text-anchor"] == "middle"


def test_make_title_keeps_what_a_text_has():
    (attributes,) = elements_of(make_title("Tides", 50, 12.5), "text")
    assert (attributes["x"], attributes["y"], attributes["fill"]) == ("50", "12.5", "black")


def test_make_title_has_size_sixteen_unless_told_otherwise():
    assert elements_of(make_title("Tides", 1, 2), "text")[0]["font-size"] == "16"
    assert elements_of(make_title("Tides", 1, 2, 30), "text")[0]["font-size"] == "30"


def test_make_title_changes_neither_its_words_nor_its_end():
    assert make_title("High <text fill> water", 1, 2).endswith(">High <text fill> water</text>")
