def multiply(a: float, b: float) -> float:
    """Return the product of two numbers."""
    return a * b
