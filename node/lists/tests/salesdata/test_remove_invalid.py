from expect import staged
from get_records import get_records
from remove_invalid import remove_invalid
from sales import sale


def test_remove_invalid_keeps_sales_with_units_only():
    assert remove_invalid() == [record for record in get_records() if record["units"] != 0]


def test_remove_invalid_draws_the_line_at_zero():
    records = [sale("Saw", 1, 2.0), sale("Saw", 0, 3.0), sale("Axe", 2, 4.0), sale("Axe", 0, 5.0)]
    with staged("remove_invalid", get_records=records) as function:
        assert function() == [sale("Saw", 1, 2.0), sale("Axe", 2, 4.0)]
