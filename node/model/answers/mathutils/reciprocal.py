def reciprocal(x: float) -> float:
    """Return one divided by x."""
    if x == 0:
        raise ValueError("zero has no reciprocal")
    return 1 / x
