"""What the measures of `bench.py` give: figures by name, each with its spread over the trials."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

Figures = dict[str, dict[str, float]]


def spread(values: Sequence[float], digits: int = 3) -> dict[str, float]:
    """Median, extremes and count."""
    return {
        "median": round(statistics.median(values), digits),
        "min": round(min(values), digits),
        "max": round(max(values), digits),
        "n": len(values),
    }
