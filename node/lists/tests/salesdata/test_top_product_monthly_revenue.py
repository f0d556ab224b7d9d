from expect import near, staged
from sales import earned
from top_product_monthly_revenue import top_product_monthly_revenue
from top_product_records import top_product_records

RECORDS = [
    earned("Saw", 8.0, "Sep"),
    earned("Saw", 2.5, "Sep"),
    earned("Saw", 4.0, "Apr"),
    earned("Saw", 1.0, "Sep"),
]


def test_top_product_monthly_revenue_sums_each_month():
    with staged("top_product_monthly_revenue", top_product_records=RECORDS) as function:
        assert function() == {"Sep": 11.5, "Apr": 4.0}


def test_top_product_monthly_revenue_keeps_months_in_order_of_appearance():
    with staged("top_product_monthly_revenue", top_product_records=RECORDS) as function:
        assert list(function()) == ["Sep", "Apr"]


def test_top_product_monthly_revenue_agrees_with_the_records():
    whole = sum(record["revenue"] for record in top_product_records())
    assert near(sum(top_product_monthly_revenue().values()), whole)
