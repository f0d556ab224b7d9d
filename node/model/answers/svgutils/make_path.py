def make_path(d: str, fill: str = "none", stroke: str = "black") -> str:
    """Return a path drawn by the given path data."""
    return f'<path d="{d}" fill="{fill}" stroke="{stroke}"/>'
