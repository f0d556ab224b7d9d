"""How long the simulated model takes and how many tokens it reports, from measured figures.

Invariant: `latency_s` is a pure function of its arguments, in any process and on any day, so that
a study can compute afterwards what every request of a run has drawn.

The figures were computed from the published runs of *Language Model Teams as Distributed Systems*
(arXiv 2603.12229; data MIT, (c) 2026 Elizabeth Mieczkowski): the latency of a turn is lognormal,
by the number of files written in it; tokens are means per turn and per file written, by suite.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

KEY_SIZE_MAX = 500  # characters

# (mu, sigma) of the logarithm of seconds, by the least number of files for which they hold.
_LATENCY: dict[str, tuple[tuple[int, float, float], ...]] = {
    "gpt": (
        (0, 0.337, 0.543),
        (1, 1.140, 0.552),
        (2, 1.821, 0.455),
        (3, 2.398, 0.519),
        (5, 2.864, 0.553),
        (9, 3.262, 0.596),
        (15, 3.547, 0.456),
    ),
    "claude": (
        (0, 0.690, 0.575),
        (1, 1.717, 0.563),
        (2, 2.213, 0.486),
        (3, 2.540, 0.499),
        (5, 3.009, 0.474),
        (9, 3.483, 0.292),
        (15, 3.342, 0.404),
    ),
    "gemini": (
        (0, 1.078, 0.549),
        (1, 1.172, 0.436),
        (2, 1.750, 0.506),
        (3, 2.106, 0.533),
        (5, 2.427, 0.595),
        (9, 2.668, 0.425),
        (15, 2.718, 0.254),
    ),
}


@dataclass(frozen=True, slots=True)
class _Tokens:
    """Of one model on one suite: median input of a turn; mean output of a turn and of a file."""

    read: int
    written_per_turn: float
    written_per_file: float


_TOKENS: dict[str, dict[str, _Tokens]] = {
    "gpt": {
        "mathutils": _Tokens(2426, 90.4, 170.0),
        "salesdata": _Tokens(7150, 54.5, 313.0),
        "svgutils": _Tokens(4996, 14.7, 278.3),
    },
    "claude": {
        "mathutils": _Tokens(2536, 76.2, 182.7),
        "salesdata": _Tokens(7552, 27.8, 430.1),
        "svgutils": _Tokens(8072, 64.2, 254.6),
    },
    "gemini": {
        "mathutils": _Tokens(4896, 25.2, 137.0),
        "salesdata": _Tokens(6424, -21.4, 236.1),  # a regression's intercept: hence below zero
        "svgutils": _Tokens(5301, 30.5, 184.2),
    },
}


READ_MAX = max(each.read for suites in _TOKENS.values() for each in suites.values())


def key_of(paths: Sequence[str], question: str = "") -> str:
    """What the draws of a request hang on: the files it asks for, in order, or the question."""
    whole = "+".join(paths) if paths else f"? {' '.join(question.split())}"
    return whole[:KEY_SIZE_MAX]


def latency_s(model: str, seed: int, key: str, attempt: int, files: int) -> float:
    """The seconds that this request takes at speed 1.

    `key` is `key_of` the request; `attempt` is how many requests with this key the server had
    received before (0 is the first); `files` is the number of files asked for, 0 for a question.
    """
    mu, sigma = lognormal_of(model, files)
    return random.Random(f"latency/{model}/{seed}/{key}/{attempt}").lognormvariate(mu, sigma)


def lognormal_of(model: str, files: int) -> tuple[float, float]:
    """(mu, sigma) of the logarithm of the seconds that a request for so many files takes."""
    assert files >= 0
    found = _LATENCY[model][0]
    for row in _LATENCY[model]:
        if files >= row[0]:
            found = row
    return found[1], found[2]


def tokens_of(model: str, prompt: str, files: int) -> tuple[int, int]:
    """(read, written): the measured means for a request like this one, not a count of its words."""
    figures = _TOKENS[model]
    suite = _suite_of(prompt)
    chosen = [figures[suite]] if suite else list(figures.values())
    read = sum(each.read for each in chosen) / len(chosen)
    written = sum(each.written_per_turn + each.written_per_file * files for each in chosen) / len(
        chosen
    )
    return round(read), max(1, round(written))


def _suite_of(prompt: str) -> str:
    """The suite a prompt most likely belongs to, by its vocabulary; empty: none of them, and the
    mean over the suites is the best guess there is."""
    words = prompt.lower()
    if "svg" in words:
        return "svgutils"
    if "sales_records" in words or "sample_data" in words or "sales data" in words:
        return "salesdata"
    return "mathutils" if "math" in words else ""
