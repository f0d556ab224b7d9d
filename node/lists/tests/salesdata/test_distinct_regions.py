from distinct_regions import SAMPLE_DATA, distinct_regions
from sales import orders, well_formed


def test_distinct_regions_is_sorted_and_without_repeats():
    assert distinct_regions(orders()) == ["East", "North", "Northwest", "West"]


def test_distinct_regions_of_nothing_is_empty():
    assert distinct_regions([]) == []


def test_distinct_regions_comes_with_sample_data():
    assert well_formed(SAMPLE_DATA)
