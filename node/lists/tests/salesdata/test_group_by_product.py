from above_average_records import above_average_records
from expect import staged
from group_by_product import group_by_product
from sales import earned


def test_group_by_product_lists_every_record_under_its_product():
    records = [earned("Saw", 8.0), earned("Axe", 9.0), earned("Saw", 7.0)]
    with staged("group_by_product", above_average_records=records) as function:
        assert function() == {
            "Saw": [earned("Saw", 8.0), earned("Saw", 7.0)],
            "Axe": [earned("Axe", 9.0)],
        }


def test_group_by_product_loses_no_record():
    groups = group_by_product()
    assert sum(len(group) for group in groups.values()) == len(above_average_records())
    assert set(groups) == {record["product"] for record in above_average_records()}
