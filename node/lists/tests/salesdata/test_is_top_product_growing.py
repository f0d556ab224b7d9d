from best_month_for_top_product import best_month_for_top_product
from expect import staged
from is_top_product_growing import is_top_product_growing
from top_product_monthly_revenue import top_product_monthly_revenue


def growing(months, best):
    """What the function says of these months."""
    with staged(
        "is_top_product_growing",
        top_product_monthly_revenue=months,
        best_month_for_top_product=best,
    ) as function:
        return function()


def test_is_top_product_growing_when_the_best_month_beats_the_first():
    assert growing({"Sep": 5.0, "Apr": 9.0, "May": 2.0}, "Apr") is True


def test_is_top_product_growing_is_false_when_the_first_month_is_best():
    assert growing({"Sep": 9.0, "Apr": 5.0, "May": 2.0}, "Sep") is False
    assert growing({"Sep": 9.0}, "Sep") is False


def test_is_top_product_growing_agrees_with_the_months():
    months = top_product_monthly_revenue()
    first = next(iter(months.values()))
    assert is_top_product_growing() is (months[best_month_for_top_product()] > first)
