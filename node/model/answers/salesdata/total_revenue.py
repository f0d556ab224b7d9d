from add_revenue import add_revenue


def total_revenue() -> float:
    """Return the revenue of all valid records together."""
    return sum(record["revenue"] for record in add_revenue())
