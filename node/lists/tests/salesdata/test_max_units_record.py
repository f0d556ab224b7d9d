from expect import raises
from max_units_record import SAMPLE_DATA, max_units_record
from sales import orders, sale, well_formed


def test_max_units_record_is_the_whole_record():
    assert max_units_record(orders()) == sale("Drill", 20, 75.5, "West", "Feb")


def test_max_units_record_looks_at_units_and_not_at_price():
    assert max_units_record([sale("Saw", 2, 90.0), sale("Axe", 3, 1.0)]) == sale("Axe", 3, 1.0)


def test_max_units_record_of_nothing_is_refused():
    assert raises(ValueError, max_units_record, [])


def test_max_units_record_comes_with_sample_data():
    assert well_formed(SAMPLE_DATA)
