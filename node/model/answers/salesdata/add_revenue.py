from remove_invalid import remove_invalid


def add_revenue() -> list:
    """Return copies of the valid records, each with its revenue."""
    return [{**record, "revenue": record["units"] * record["price"]} for record in remove_invalid()]
