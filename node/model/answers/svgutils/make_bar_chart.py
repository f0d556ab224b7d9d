from make_group import make_group
from make_rect import make_rect


def make_bar_chart(data: list, x: int, y: int, w: int, h: int) -> str:
    """Return the values as bars that stand on the lower edge of the chart."""
    if not data:
        return make_group([])
    bar_width = w // len(data)
    highest = max(data)
    bars = []
    for index, value in enumerate(data):
        bar_height = value / highest * h if highest else 0
        left = x + index * bar_width
        bars.append(make_rect(left, y + h - bar_height, bar_width, bar_height, fill="steelblue"))
    return make_group(bars)
