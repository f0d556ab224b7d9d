from filter_by_month import SAMPLE_DATA, filter_by_month
from sales import orders, units_of, well_formed


def test_filter_by_month_finds_exact_matches_in_order():
    assert units_of(filter_by_month(orders(), "Jan")) == [2, 11]
    assert units_of(filter_by_month(orders(), "Mar")) == [9, 4]


def test_filter_by_month_finds_nothing_else():
    assert filter_by_month(orders(), "Dec") == []
    assert filter_by_month(orders(), "Ja") == []


def test_filter_by_month_comes_with_sample_data():
    assert well_formed(SAMPLE_DATA)
