from count_by_region import SAMPLE_DATA, count_by_region
from sales import orders, well_formed


def test_count_by_region_counts_records_and_not_units():
    assert count_by_region(orders()) == {"West": 3, "East": 1, "North": 1, "Northwest": 1}


def test_count_by_region_of_nothing_is_empty():
    assert count_by_region([]) == {}


def test_count_by_region_comes_with_sample_data():
    assert well_formed(SAMPLE_DATA)
