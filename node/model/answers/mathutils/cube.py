def cube(x: float) -> float:
    """Return the third power of x."""
    return x**3
