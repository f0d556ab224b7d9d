from distinct_products import SAMPLE_DATA, distinct_products
from sales import orders, well_formed


def test_distinct_products_is_sorted_and_without_repeats():
    assert distinct_products(orders()) == ["Axe", "Drill", "Saw", "Sawhorse"]


def test_distinct_products_of_nothing_is_empty():
    assert distinct_products([]) == []


def test_distinct_products_comes_with_sample_data():
    assert well_formed(SAMPLE_DATA)
