from expect import staged
from revenue_summary import revenue_summary
from top_product_name import top_product_name


def test_top_product_name_comes_from_the_summary():
    summary = {
        "rankings": [("Saw", 35.5), ("Axe", 20.0)],
        "top_product": "Saw",
        "grand_total": 55.5,
    }
    with staged("top_product_name", revenue_summary=summary) as function:
        assert function() == "Saw"


def test_top_product_name_agrees_with_the_summary():
    assert top_product_name() == revenue_summary()["top_product"]
