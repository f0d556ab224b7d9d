"""What the measures of `bench.py` give: figures by name, each with its spread over the trials; and
what several of them take from the system."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

Figures = dict[str, dict[str, float]]


def spread(values: Sequence[float], digits: int = 3) -> dict[str, float]:
    """Median, extremes and count."""
    return {
        "median": round(statistics.median(values), digits),
        "min": round(min(values), digits),
        "max": round(max(values), digits),
        "n": len(values),
    }


def cpu_s(pids: Iterable[int]) -> float:
    """The processor time that these processes have used so far, without their children's."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
