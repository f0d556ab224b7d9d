from make_text import make_text


def test_make_text_is_black_and_of_size_twelve():
    assert make_text(4.0, 9.5, "Harvest") == (
        '<text x="4" y="9.5" font-size="12" fill="black">Harvest</text>'
    )


def test_make_text_takes_size_and_color():
    assert make_text(1, 2, "Low tide", 20, "navy") == (
        '<text x="1" y="2" font-size="20" fill="navy">Low tide</text>'
    )
