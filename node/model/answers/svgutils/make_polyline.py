from fmt_points import fmt_points


def make_polyline(points: list, stroke: str = "black", stroke_width: int = 1) -> str:
    """Return an open line through the points."""
    return (
        f'<polyline points="{fmt_points(points)}" stroke="{stroke}" '
        f'stroke-width="{stroke_width}" fill="none"/>'
    )
