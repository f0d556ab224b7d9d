from expect import staged
from group_revenue_totals import group_revenue_totals
from rank_by_revenue import rank_by_revenue


def test_rank_by_revenue_puts_the_highest_first():
    totals = {"Axe": 20.0, "Saw": 35.5, "Drill": 4.0, "Bolt": 21.0}
    with staged("rank_by_revenue", group_revenue_totals=totals) as function:
        assert function() == [("Saw", 35.5), ("Bolt", 21.0), ("Axe", 20.0), ("Drill", 4.0)]


def test_rank_by_revenue_has_every_product_once():
    assert dict(rank_by_revenue()) == group_revenue_totals()
    assert len(rank_by_revenue()) == len(group_revenue_totals())
