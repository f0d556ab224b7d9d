from fmt_coord import fmt_coord


def fmt_points(points: list) -> str:
    """Return a list of points as a points attribute shows it."""
    return " ".join(fmt_coord(x, y) for x, y in points)
