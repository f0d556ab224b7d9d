def min_val(a: float, b: float) -> float:
    """Return the smaller of two numbers."""
    return a if a < b else b
