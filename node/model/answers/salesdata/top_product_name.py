from revenue_summary import revenue_summary


def top_product_name() -> str:
    """Return the name of the product at the top of the ranking."""
    return revenue_summary()["top_product"]
