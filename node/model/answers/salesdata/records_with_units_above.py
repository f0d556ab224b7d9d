SAMPLE_DATA = [
    {"product": "Rope", "units": 7, "price": 3.5, "region": "Coast", "month": "Sep"},
    {"product": "Pulley", "units": 4, "price": 16.0, "region": "Hills", "month": "Sep"},
    {"product": "Anchor", "units": 1, "price": 88.0, "region": "Coast", "month": "Oct"},
    {"product": "Rope", "units": 15, "price": 3.5, "region": "Harbour", "month": "Oct"},
    {"product": "Compass", "units": 6, "price": 24.75, "region": "Valley", "month": "Nov"},
    {"product": "Pulley", "units": 9, "price": 16.0, "region": "Coast", "month": "Aug"},
]


def records_with_units_above(records: list, threshold: int) -> list:
    """Return the records with more units than the threshold."""
    return [record for record in records if record["units"] > threshold]
