from expect import near, raises, staged
from rank_by_revenue import rank_by_revenue
from revenue_summary import revenue_summary


def test_revenue_summary_has_ranking_top_and_total():
    ranking = [("Saw", 35.5), ("Axe", 20.0), ("Bolt", 4.0)]
    with staged("revenue_summary", rank_by_revenue=ranking) as function:
        assert function() == {"rankings": ranking, "top_product": "Saw", "grand_total": 59.5}


def test_revenue_summary_without_products_is_refused():
    with staged("revenue_summary", rank_by_revenue=[]) as function:
        assert raises(ValueError, function)


def test_revenue_summary_agrees_with_the_ranking():
    ranking = rank_by_revenue()
    summary = revenue_summary()
    assert summary["rankings"] == ranking
    assert summary["top_product"] == ranking[0][0]
    assert near(summary["grand_total"], sum(revenue for _, revenue in ranking))
