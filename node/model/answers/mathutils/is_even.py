def is_even(n: int) -> bool:
    """Return whether n is divisible by two."""
    return n % 2 == 0
