from sales import orders, units_of, well_formed
from sort_by_units import SAMPLE_DATA, sort_by_units


def test_sort_by_units_puts_the_largest_first():
    assert units_of(sort_by_units(orders())) == [20, 11, 9, 4, 2, 1]


def test_sort_by_units_leaves_its_argument_alone():
    records = orders()
    sort_by_units(records)
    assert records == orders()


def test_sort_by_units_comes_with_sample_data():
    assert well_formed(SAMPLE_DATA)
