from add_revenue import add_revenue
from total_revenue import total_revenue


def average_revenue() -> float:
    """Return the mean revenue of a valid record."""
    records = add_revenue()
    if not records:
        raise ValueError("there are no records to average over")
    return total_revenue() / len(records)
