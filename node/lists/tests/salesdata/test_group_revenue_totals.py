from expect import near, staged
from group_by_product import group_by_product
from group_revenue_totals import group_revenue_totals
from sales import earned


def test_group_revenue_totals_sums_each_group():
    groups = {"Saw": [earned("Saw", 8.0), earned("Saw", 7.5)], "Axe": [earned("Axe", 9.0)]}
    with staged("group_revenue_totals", group_by_product=groups) as function:
        assert function() == {"Saw": 15.5, "Axe": 9.0}


def test_group_revenue_totals_agrees_with_the_groups():
    groups = group_by_product()
    totals = group_revenue_totals()
    assert set(totals) == set(groups)
    for product, records in groups.items():
        assert near(totals[product], sum(record["revenue"] for record in records))
