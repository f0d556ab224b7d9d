from above_average_records import above_average_records


def group_by_product() -> dict:
    """Return the records above the mean, as one list per product."""
    groups = {}
    for record in above_average_records():
        groups.setdefault(record["product"], []).append(record)
    return groups
