from above_average_records import above_average_records
from add_revenue import add_revenue
from expect import staged
from sales import earned


def test_above_average_records_must_exceed_the_average():
    records = [earned("Saw", 15.0), earned("Axe", 10.0), earned("Drill", 5.0)]
    with staged("above_average_records", add_revenue=records, average_revenue=10.0) as function:
        assert function() == [earned("Saw", 15.0)]


def test_above_average_records_keeps_the_order():
    records = [earned("Saw", 8.0), earned("Axe", 0.0), earned("Drill", 9.0), earned("Saw", 3.0)]
    with staged("above_average_records", add_revenue=records, average_revenue=5.0) as function:
        assert [record["revenue"] for record in function()] == [8.0, 9.0]


def test_above_average_records_agrees_with_the_records():
    revenues = [record["revenue"] for record in add_revenue()]
    average = sum(revenues) / len(revenues)
    high = [revenue for revenue in revenues if revenue > average]
    assert [record["revenue"] for record in above_average_records()] == high
