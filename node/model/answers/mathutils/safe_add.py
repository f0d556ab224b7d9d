from add import add


def safe_add(a: float, b: float) -> float:
    """Return the sum of two operands, refusing anything that is not a number."""
    for operand in (a, b):
        if not isinstance(operand, int | float):
            raise TypeError(f"expected int or float, got {type(operand).__name__}")
    return add(a, b)
