SAMPLE_DATA = [
    {"product": "Rope", "units": 7, "price": 3.5, "region": "Coast", "month": "Sep"},
    {"product": "Pulley", "units": 4, "price": 16.0, "region": "Hills", "month": "Sep"},
    {"product": "Anchor", "units": 1, "price": 88.0, "region": "Coast", "month": "Oct"},
    {"product": "Rope", "units": 15, "price": 3.5, "region": "Harbour", "month": "Oct"},
    {"product": "Compass", "units": 6, "price": 24.75, "region": "Valley", "month": "Nov"},
    {"product": "Pulley", "units": 9, "price": 16.0, "region": "Coast", "month": "Aug"},
]


def sort_by_units(records: list) -> list:
    """Return the records in a new list, the largest sale first."""
    return sorted(records, key=lambda record: record["units"], reverse=True)
