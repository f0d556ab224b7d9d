from add_revenue import add_revenue
from expect import near, staged
from sales import earned
from total_revenue import total_revenue


def test_total_revenue_sums_all_records():
    records = [earned("Saw", 7.5), earned("Axe", 28.25), earned("Saw", 0.25)]
    with staged("total_revenue", add_revenue=records) as function:
        assert near(function(), 36.0)


def test_total_revenue_of_no_records_is_zero():
    with staged("total_revenue", add_revenue=[]) as function:
        assert function() == 0


def test_total_revenue_agrees_with_the_records():
    assert near(total_revenue(), sum(record["revenue"] for record in add_revenue()))
