def subtract(a: float, b: float) -> float:
    """Return the difference of two numbers."""
    return a - b
