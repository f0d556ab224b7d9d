def max_val(a: float, b: float) -> float:
    """Return the larger of two numbers."""
    return a if a > b else b
