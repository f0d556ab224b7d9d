from get_records import get_records


def remove_invalid() -> list:
    """Return the records of real sales: those with units."""
    return [record for record in get_records() if record["units"] > 0]
