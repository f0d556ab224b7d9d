from make_bar_chart import make_bar_chart
from shapes import elements_of, numbers_of


def test_make_bar_chart_draws_a_bar_per_value_side_by_side():
    chart = make_bar_chart([5, 20, 10], 7, 3, 100, 80)
    assert numbers_of(chart, "rect", "x", "width") == [(7, 33), (40, 33), (73, 33)]


def test_make_bar_chart_scales_the_highest_value_to_the_full_height():
    chart = make_bar_chart([5, 20, 10], 7, 3, 100, 80)
    assert numbers_of(chart, "rect", "height") == [(20,), (80,), (40,)]


def test_make_bar_chart_stands_on_its_lower_edge():
    chart = make_bar_chart([5, 20, 10], 7, 3, 100, 80)
    assert numbers_of(chart, "rect", "y") == [(63,), (3,), (43,)]


def test_make_bar_chart_is_a_group_of_steelblue_bars():
    chart = make_bar_chart([4, 8], 0, 0, 50, 40)
    assert [bar["fill"] for bar in elements_of(chart, "rect")] == ["steelblue", "steelblue"]
    assert chart[:3] == "<g>"
    assert chart[-4:] == "</g>"
