from best_month_for_top_product import best_month_for_top_product
from top_product_monthly_revenue import top_product_monthly_revenue


def is_top_product_growing() -> bool:
    """Return whether the top product's best month beats its first one."""
    months = top_product_monthly_revenue()
    first = next(iter(months))
    return months[best_month_for_top_product()] > months[first]
