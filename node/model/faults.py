"""How the simulated model misbehaves: drawn per request, reproducibly, and by a request rate.

Invariant: the faults of a request depend on the knobs, its key and its attempt only; a retry is
another attempt and draws anew.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, fields

from node.model.knobs import ModelKnobs

SLOW_FACTOR = 10.0
RETRY_AFTER_S = 1.0  # what a drawn 429 asks for, at speed 1
STATUSES_5XX = (500, 502, 503)
REFUSAL = "I'm sorry, but I can't help with that. (drawn)"
BURST_S = 1.0  # the rate limit lets this much time's requests through at once


@dataclass(frozen=True, slots=True)
class Faults:
    """What befalls one request."""

    http_429: bool
    http_5xx: bool
    hang: bool
    garbage: bool
    wrong: bool
    slow: bool
    break_stream: bool
    refuse: bool
    truncate: bool
    overflow: bool
    empty: bool


def draw_faults(knobs: ModelKnobs, key: str, attempt: int) -> Faults:
    """The faults of this attempt, each drawn on its own: changing one rate leaves the others."""

    def drawn(name: str) -> bool:
        rate: float = getattr(knobs, name)
        return rate > 0.0 and randomness_of(knobs, key, attempt, name).random() < rate

    return Faults(**{field.name: drawn(field.name) for field in fields(Faults)})


def randomness_of(knobs: ModelKnobs, key: str, attempt: int, purpose: str) -> random.Random:
    """The random numbers for one purpose of one attempt."""
    return random.Random(f"fault/{knobs.seed}/{key}/{attempt}/{purpose}")


def garbage(paths: tuple[str, ...], randomness: random.Random) -> str:
    """Something a model says that is no answer."""
    path = paths[0] if paths else "answer.txt"
    return randomness.choice(
        (
            "I have looked into it and everything is in order now. Anything else?",
            "",
            f"```python path=scratch/{path}\nprint('not the file you asked for')\n```\n",
            f"Certainly. Here is the file:\n\n```python path={path}\ndef unfinished(",
            '{"tool_calls": [{"name": "write_file", "arguments": "{\\"path\\": \\"\\"',
        )
    )


class RateLimit:
    """A token bucket: `rate` requests a second, with BURST_S of them at once."""

    def __init__(self, rate: float) -> None:
        assert rate > 0.0
        self._rate = rate
        self._size = max(1.0, rate * BURST_S)
        self._left = self._size
        self._at = 0.0

    def wait_s(self, now: float) -> float:
        """0 if a request may pass now, which is then counted; else when to come back."""
        self._left = min(self._size, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left >= 1.0:
            self._left -= 1.0
            return 0.0
        return (1.0 - self._left) / self._rate
