def is_zero(x: float) -> bool:
    """Return whether x is zero."""
    return x == 0
