def negate(x: float) -> float:
    """Return x with the opposite sign."""
    return -x
