def make_comment(text: str) -> str:
    """Return the text as a comment of SVG."""
    return f"<!-- {text} -->"
