from fmt_points import fmt_points


def make_polygon(points: list, fill: str = "none", stroke: str = "black") -> str:
    """Return a closed shape with the points as corners."""
    return f'<polygon points="{fmt_points(points)}" fill="{fill}" stroke="{stroke}"/>'
