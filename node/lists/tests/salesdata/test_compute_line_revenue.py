from compute_line_revenue import SAMPLE_DATA, compute_line_revenue
from expect import near
from sales import sale, well_formed


def test_compute_line_revenue_multiplies_units_by_price():
    assert near(compute_line_revenue(sale("Saw", 4, 2.25)), 9.0)
    assert near(compute_line_revenue(sale("Axe", 1, 0.1)), 0.1)
    assert near(compute_line_revenue(sale("Axe", 0, 8.0)), 0.0)


def test_compute_line_revenue_comes_with_sample_data():
    assert well_formed(SAMPLE_DATA)
