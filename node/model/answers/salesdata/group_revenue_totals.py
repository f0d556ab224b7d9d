from group_by_product import group_by_product


def group_revenue_totals() -> dict:
    """Return the revenue of each product's group."""
    return {
        product: sum(record["revenue"] for record in records)
        for product, records in group_by_product().items()
    }
