from group_revenue_totals import group_revenue_totals


def rank_by_revenue() -> list:
    """Return (product, revenue) pairs, the highest revenue first."""
    return sorted(group_revenue_totals().items(), key=lambda pair: pair[1], reverse=True)
