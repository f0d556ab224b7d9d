def square(x: float) -> float:
    """Return the second power of x."""
    return x * x
