def double(x: float) -> float:
    """Return twice x."""
    return x * 2
