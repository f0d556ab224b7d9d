def half(x: float) -> float:
    """Return x divided by two."""
    return x / 2
