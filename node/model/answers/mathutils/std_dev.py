from variance import variance


def std_dev(lst: list) -> float:
    """Return the population standard deviation of a list."""
    if not lst:
        raise ValueError("the standard deviation of an empty list is not defined")
    return variance(lst) ** 0.5
