from average_price import SAMPLE_DATA, average_price
from expect import near, raises
from sales import orders, well_formed


def test_average_price_counts_each_record_once():
    assert near(average_price(orders()), 35.5)
    assert near(average_price(orders()[:2]), 21.25)


def test_average_price_of_nothing_is_refused():
    assert raises(ValueError, average_price, [])


def test_average_price_comes_with_sample_data():
    assert well_formed(SAMPLE_DATA)
