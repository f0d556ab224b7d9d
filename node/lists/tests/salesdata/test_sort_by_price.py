from sales import orders, units_of, well_formed
from sort_by_price import SAMPLE_DATA, sort_by_price


def test_sort_by_price_puts_the_cheapest_first():
    assert units_of(sort_by_price(orders())) == [2, 9, 11, 4, 1, 20]


def test_sort_by_price_leaves_its_argument_alone():
    records = orders()
    sort_by_price(records)
    assert records == orders()


def test_sort_by_price_comes_with_sample_data():
    assert well_formed(SAMPLE_DATA)
