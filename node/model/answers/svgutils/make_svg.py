from make_group import make_group


def make_svg(width: int, height: int, children: list, title: str = "") -> str:
    """Return a whole SVG document with the children in it."""
    title_tag = f"<title>{title}</title>" if title else ""
    return (
        f'<svg width="{width}" height="{height}" xmlns="http://www.w3.org/2000/svg">'
        f"{title_tag}{make_group(children)}</svg>"
    )
