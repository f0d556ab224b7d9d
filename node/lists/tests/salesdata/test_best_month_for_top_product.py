from best_month_for_top_product import best_month_for_top_product
from expect import raises, staged
from top_product_monthly_revenue import top_product_monthly_revenue


def test_best_month_for_top_product_has_the_highest_revenue():
    months = {"Sep": 11.5, "Apr": 14.0, "May": 3.0}
    with staged("best_month_for_top_product", top_product_monthly_revenue=months) as function:
        assert function() == "Apr"


def test_best_month_for_top_product_without_months_is_refused():
    with staged("best_month_for_top_product", top_product_monthly_revenue={}) as function:
        assert raises(ValueError, function)


def test_best_month_for_top_product_agrees_with_the_months():
    months = top_product_monthly_revenue()
    assert months[best_month_for_top_product()] == max(months.values())
