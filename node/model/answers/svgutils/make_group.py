def make_group(children: list, transform: str = "") -> str:
    """Return the children as one group, moved if a transform is given."""
    attribute = f' transform="{transform}"' if transform else ""
    return f"<g{attribute}>{''.join(children)}</g>"
