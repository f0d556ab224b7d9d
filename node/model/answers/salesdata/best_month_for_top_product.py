from top_product_monthly_revenue import top_product_monthly_revenue


def best_month_for_top_product() -> str:
    """Return the month in which the top product earned most."""
    months = top_product_monthly_revenue()
    if not months:
        raise ValueError("the top product has no months")
    return max(months, key=lambda month: months[month])
