from mean import mean


def variance(lst: list) -> float:
    """Return the population variance of a list."""
    if not lst:
        raise ValueError("the variance of an empty list is not defined")
    middle = mean(lst)
    return sum((x - middle) ** 2 for x in lst) / len(lst)
