from add_revenue import add_revenue
from average_revenue import average_revenue


def above_average_records() -> list:
    """Return the records that brought more than the mean."""
    threshold = average_revenue()
    return [record for record in add_revenue() if record["revenue"] > threshold]
