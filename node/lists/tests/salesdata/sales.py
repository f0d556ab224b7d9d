"""Made-up sales for the tests: no two share units or a price, and one name begins another."""

FIELDS = {"product": str, "units": int, "price": float, "region": str, "month": str}


def sale(product, units, price, region="East", month="Mar"):
    """One record as the tasks describe it."""
    return {"product": product, "units": units, "price": price, "region": region, "month": month}


def earned(product, revenue, month="Mar"):
    """A record that has its revenue already."""
    return {**sale(product, 1, revenue, month=month), "revenue": revenue}


def orders():
    """Six records, fresh ones at each call."""
    return [
        sale("Saw", 9, 12.5, "West", "Mar"),
        sale("Axe", 4, 30.0, "East", "Mar"),
        sale("Saw", 2, 11.0, "North", "Jan"),
        sale("Drill", 20, 75.5, "West", "Feb"),
        sale("Axe", 11, 29.0, "West", "Jan"),
        sale("Sawhorse", 1, 55.0, "Northwest", "Feb"),
    ]


def units_of(records):
    """The units alone, which tell the records of `orders` apart."""
    return [record["units"] for record in records]


def well_formed(records):
    """True if there are records and each has the five fields in their types."""
    if not records:
        raise AssertionError("there should be records, there are none")
    for record in records:
        if not isinstance(record, dict) or set(record) != set(FIELDS):
            raise AssertionError(f"{record!r} should have exactly the fields {', '.join(FIELDS)}")
        for field, kind in FIELDS.items():
            if not isinstance(record[field], kind):
                raise AssertionError(f"{field} of {record!r} should be of type {kind.__name__}")
    return True
