def is_positive(x: float) -> bool:
    """Return whether x lies above zero."""
    return x > 0
