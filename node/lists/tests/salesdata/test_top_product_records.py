from add_revenue import add_revenue
from expect import staged
from sales import earned
from top_product_name import top_product_name
from top_product_records import top_product_records


def test_top_product_records_are_those_of_the_top_product():
    records = [earned("Saw", 8.0), earned("Sawhorse", 9.0), earned("Saw", 0.5), earned("Axe", 9.0)]
    with staged("top_product_records", add_revenue=records, top_product_name="Saw") as function:
        assert function() == [earned("Saw", 8.0), earned("Saw", 0.5)]


def test_top_product_records_are_all_of_them():
    name = top_product_name()
    assert top_product_records() == [
        record for record in add_revenue() if record["product"] == name
    ]
