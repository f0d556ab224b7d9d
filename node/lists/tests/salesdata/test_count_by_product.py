from count_by_product import SAMPLE_DATA, count_by_product
from sales import orders, well_formed


def test_count_by_product_counts_records_and_not_units():
    assert count_by_product(orders()) == {"Saw": 2, "Axe": 2, "Drill": 1, "Sawhorse": 1}


def test_count_by_product_of_nothing_is_empty():
    assert count_by_product([]) == {}


def test_count_by_product_comes_with_sample_data():
    assert well_formed(SAMPLE_DATA)
