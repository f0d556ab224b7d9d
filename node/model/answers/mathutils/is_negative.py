def is_negative(x: float) -> bool:
    """Return whether x lies below zero."""
    return x < 0
