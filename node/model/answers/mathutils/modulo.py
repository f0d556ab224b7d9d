def modulo(a: float, b: float) -> float:
    """Return the remainder of a divided by b, with the sign of b."""
    if b == 0:
        raise ValueError("there is no remainder of a division by zero")
    return a % b
