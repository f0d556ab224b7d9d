from expect import raises
from min_price_record import SAMPLE_DATA, min_price_record
from sales import orders, sale, well_formed


def test_min_price_record_is_the_whole_record():
    assert min_price_record(orders()) == sale("Saw", 2, 11.0, "North", "Jan")


def test_min_price_record_looks_at_price_and_not_at_units():
    assert min_price_record([sale("Saw", 2, 9.0), sale("Axe", 3, 1.5)]) == sale("Axe", 3, 1.5)


def test_min_price_record_of_nothing_is_refused():
    assert raises(ValueError, min_price_record, [])


def test_min_price_record_comes_with_sample_data():
    assert well_formed(SAMPLE_DATA)
