SAMPLE_DATA = [
    {"product": "Rope", "units": 7, "price": 3.5, "region": "Coast", "month": "Sep"},
    {"product": "Pulley", "units": 4, "price": 16.0, "region": "Hills", "month": "Sep"},
    {"product": "Anchor", "units": 1, "price": 88.0, "region": "Coast", "month": "Oct"},
    {"product": "Rope", "units": 15, "price": 3.5, "region": "Harbour", "month": "Oct"},
    {"product": "Compass", "units": 6, "price": 24.75, "region": "Valley", "month": "Nov"},
    {"product": "Pulley", "units": 9, "price": 16.0, "region": "Coast", "month": "Aug"},
]


def compute_line_revenue(record: dict) -> float:
    """Return what one record brought in."""
    return record["units"] * record["price"]
