from count_by_month import SAMPLE_DATA, count_by_month
from sales import orders, well_formed


def test_count_by_month_counts_records_and_not_units():
    assert count_by_month(orders()) == {"Mar": 2, "Jan": 2, "Feb": 2}
    assert count_by_month(orders()[:4]) == {"Mar": 2, "Jan": 1, "Feb": 1}


def test_count_by_month_of_nothing_is_empty():
    assert count_by_month([]) == {}


def test_count_by_month_comes_with_sample_data():
    assert well_formed(SAMPLE_DATA)
