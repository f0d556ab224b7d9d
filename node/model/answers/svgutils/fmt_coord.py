from fmt_num import fmt_num


def fmt_coord(x: float, y: float) -> str:
    """Return a point as SVG shows it."""
    return f"{fmt_num(x)},{fmt_num(y)}"
