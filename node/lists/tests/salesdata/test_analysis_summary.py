from analysis_summary import analysis_summary
from best_month_for_top_product import best_month_for_top_product
from expect import staged
from is_top_product_growing import is_top_product_growing
from revenue_summary import revenue_summary


def test_analysis_summary_gathers_four_figures():
    summary = {"rankings": [("Saw", 35.5)], "top_product": "Saw", "grand_total": 35.5}
    with staged(
        "analysis_summary",
        revenue_summary=summary,
        best_month_for_top_product="Apr",
        is_top_product_growing=False,
    ) as function:
        assert function() == {
            "top_product": "Saw",
            "best_month": "Apr",
            "is_growing": False,
            "grand_total": 35.5,
        }


def test_analysis_summary_agrees_with_its_sources():
    assert analysis_summary() == {
        "top_product": revenue_summary()["top_product"],
        "best_month": best_month_for_top_product(),
        "is_growing": is_top_product_growing(),
        "grand_total": revenue_summary()["grand_total"],
    }
