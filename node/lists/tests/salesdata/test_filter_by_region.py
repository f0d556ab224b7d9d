from filter_by_region import SAMPLE_DATA, filter_by_region
from sales import orders, units_of, well_formed


def test_filter_by_region_finds_exact_matches_in_order():
    assert units_of(filter_by_region(orders(), "West")) == [9, 20, 11]
    assert units_of(filter_by_region(orders(), "North")) == [2]


def test_filter_by_region_finds_nothing_elsewhere():
    assert filter_by_region(orders(), "Moon") == []
    assert filter_by_region([], "West") == []


def test_filter_by_region_comes_with_sample_data():
    assert well_formed(SAMPLE_DATA)
