from filter_by_product import SAMPLE_DATA, filter_by_product
from sales import orders, units_of, well_formed


def test_filter_by_product_finds_exact_matches_in_order():
    assert units_of(filter_by_product(orders(), "Saw")) == [9, 2]
    assert units_of(filter_by_product(orders(), "Axe")) == [4, 11]


def test_filter_by_product_finds_nothing_else():
    assert filter_by_product(orders(), "Hammer") == []
    assert filter_by_product(orders(), "saw") == []


def test_filter_by_product_comes_with_sample_data():
    assert well_formed(SAMPLE_DATA)
