from distinct_months import SAMPLE_DATA, distinct_months
from sales import orders, well_formed


def test_distinct_months_keeps_the_order_of_appearance():
    assert distinct_months(orders()) == ["Mar", "Jan", "Feb"]


def test_distinct_months_of_nothing_is_empty():
    assert distinct_months([]) == []


def test_distinct_months_comes_with_sample_data():
    assert well_formed(SAMPLE_DATA)
