from rank_by_revenue import rank_by_revenue


def revenue_summary() -> dict:
    """Return the ranking, the product at its top and the sum of its revenues."""
    rankings = rank_by_revenue()
    if not rankings:
        raise ValueError("there are no products to rank")
    return {
        "rankings": rankings,
        "top_product": rankings[0][0],
        "grand_total": sum(revenue for _, revenue in rankings),
    }
