def abs_val(x: float) -> float:
    """Return the distance of x from zero."""
    return -x if x < 0 else x
