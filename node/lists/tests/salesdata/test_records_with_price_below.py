from records_with_price_below import SAMPLE_DATA, records_with_price_below
from sales import orders, units_of, well_formed


def test_records_with_price_below_must_stay_under_the_threshold():
    assert units_of(records_with_price_below(orders(), 29.0)) == [9, 2]
    assert units_of(records_with_price_below(orders(), 29.5)) == [9, 2, 11]


def test_records_with_price_below_may_find_nothing():
    assert records_with_price_below(orders(), 11.0) == []


def test_records_with_price_below_comes_with_sample_data():
    assert well_formed(SAMPLE_DATA)
