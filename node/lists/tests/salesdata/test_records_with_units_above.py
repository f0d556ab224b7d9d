from records_with_units_above import SAMPLE_DATA, records_with_units_above
from sales import orders, units_of, well_formed


def test_records_with_units_above_must_exceed_the_threshold():
    assert units_of(records_with_units_above(orders(), 9)) == [20, 11]
    assert units_of(records_with_units_above(orders(), 8)) == [9, 20, 11]


def test_records_with_units_above_may_find_nothing():
    assert records_with_units_above(orders(), 20) == []


def test_records_with_units_above_comes_with_sample_data():
    assert well_formed(SAMPLE_DATA)
