from add_revenue import add_revenue
from expect import near, staged
from remove_invalid import remove_invalid
from sales import sale


def test_add_revenue_multiplies_units_by_price():
    records = [sale("Saw", 3, 2.5), sale("Axe", 7, 4.0)]
    with staged("add_revenue", remove_invalid=records) as function:
        assert function() == [
            {**sale("Saw", 3, 2.5), "revenue": 7.5},
            {**sale("Axe", 7, 4.0), "revenue": 28.0},
        ]


def test_add_revenue_leaves_the_original_records_alone():
    records = [sale("Saw", 3, 2.5)]
    with staged("add_revenue", remove_invalid=records) as function:
        function()
    assert records == [sale("Saw", 3, 2.5)]


def test_add_revenue_covers_every_valid_record():
    valid = remove_invalid()
    enriched = add_revenue()
    assert len(enriched) == len(valid)
    for record, plain in zip(enriched, valid, strict=True):
        assert near(record["revenue"], plain["units"] * plain["price"])
