from make_group import make_group
from make_text import make_text


def make_labeled_group(children: list, label: str, lx: float, ly: float) -> str:
    """Return the children as one group, followed by a label at (lx, ly)."""
    return make_group([*children, make_text(lx, ly, label)])
