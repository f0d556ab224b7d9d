from make_legend import make_legend
from shapes import elements_of, numbers_of

ITEMS = [("North pier", "teal"), ("South pier", "gold"), ("Quay", "navy")]


def test_make_legend_draws_a_square_swatch_per_item():
    legend = make_legend(ITEMS, 6, 10)
    assert numbers_of(legend, "rect", "x", "width", "height") == [(6, 14, 14)] * 3
    assert [swatch["fill"] for swatch in elements_of(legend, "rect")] == ["teal", "gold", "navy"]


def test_make_legend_steps_down_by_twenty():
    legend = make_legend(ITEMS, 6, 10)
    assert numbers_of(legend, "rect", "y") == [(10,), (30,), (50,)]
    (first,), (second,), (third,) = numbers_of(legend, "text", "y")
    assert (second - first, third - second) == (20, 20)


def test_make_legend_names_each_item_right_of_its_swatch():
    legend = make_legend(ITEMS, 6, 10)
    assert all(x >= 20 for (x,) in numbers_of(legend, "text", "x"))
    assert [label for label, _ in ITEMS if f">{label}</text>" in legend] == [
        "North pier",
        "South pier",
        "Quay",
    ]


def test_make_legend_is_one_group():
    legend = make_legend(ITEMS, 6, 10)
    assert legend.count("<g>") == 1
    assert legend[:3] == "<g>"
    assert legend[-4:] == "</g>"
