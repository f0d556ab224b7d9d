from best_month_for_top_product import best_month_for_top_product
from is_top_product_growing import is_top_product_growing
from revenue_summary import revenue_summary


def analysis_summary() -> dict:
    """Return the analysis in four figures."""
    summary = revenue_summary()
    return {
        "top_product": summary["top_product"],
        "best_month": best_month_for_top_product(),
        "is_growing": is_top_product_growing(),
        "grand_total": summary["grand_total"],
    }
