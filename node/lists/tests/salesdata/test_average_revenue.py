from add_revenue import add_revenue
from average_revenue import average_revenue
from expect import near, raises, staged
from sales import earned


def test_average_revenue_divides_by_the_number_of_records():
    records = [earned("Saw", 7.0), earned("Axe", 2.0), earned("Axe", 6.0), earned("Saw", 6.0)]
    with staged("average_revenue", add_revenue=records, total_revenue=21.0) as function:
        assert near(function(), 5.25)


def test_average_revenue_of_no_records_is_refused():
    with staged("average_revenue", add_revenue=[], total_revenue=0.0) as function:
        assert raises(ValueError, function)


def test_average_revenue_agrees_with_the_records():
    revenues = [record["revenue"] for record in add_revenue()]
    assert near(average_revenue(), sum(revenues) / len(revenues))
