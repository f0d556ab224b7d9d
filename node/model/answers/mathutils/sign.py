def sign(x: float) -> int:
    """Return 1, -1 or 0 for a positive number, a negative one or zero."""
    if x > 0:
        return 1
    return -1 if x < 0 else 0
