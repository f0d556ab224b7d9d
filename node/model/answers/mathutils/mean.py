from sum_list import sum_list


def mean(lst: list) -> float:
    """Return the arithmetic mean of a list."""
    if not lst:
        raise ValueError("the mean of an empty list is not defined")
    return sum_list(lst) / len(lst)
