from safe_add import safe_add


def sum_list(lst: list) -> float:
    """Return the sum of the numbers in a list."""
    total = 0.0
    for x in lst:
        total = safe_add(total, x)
    return total
