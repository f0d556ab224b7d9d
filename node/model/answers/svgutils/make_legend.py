from make_group import make_group
from make_rect import make_rect
from make_text import make_text


def make_legend(items: list, x: float, y: float) -> str:
    """Return a swatch and a label per item, one below the other."""
    elements = []
    for index, (label, color) in enumerate(items):
        top = y + index * 20
        elements.append(make_rect(x, top, 14, 14, fill=color))
        elements.append(make_text(x + 20, top + 11, label))
    return make_group(elements)
