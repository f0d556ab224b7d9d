from sales import orders, well_formed
from total_units import SAMPLE_DATA, total_units


def test_total_units_sums_all_records():
    assert total_units(orders()) == 47
    assert total_units(orders()[:1]) == 9


def test_total_units_of_nothing_is_zero():
    assert total_units([]) == 0


def test_total_units_comes_with_sample_data():
    assert well_formed(SAMPLE_DATA)
