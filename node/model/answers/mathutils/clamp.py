def clamp(x: float, lo: float, hi: float) -> float:
    """Return x, or the nearer bound when x lies outside lo to hi."""
    return max(lo, min(x, hi))
