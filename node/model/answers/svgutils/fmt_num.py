def fmt_num(n: float) -> str:
    """Return a number as an SVG attribute shows it."""
    if n % 1 == 0:
        return str(int(n))
    return f"{n:.4f}".rstrip("0")
