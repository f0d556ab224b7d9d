"""How long to wait before asking an endpoint again.

Invariant: a wait is never above its bound; whoever asks a server that wants more than RETRY_MAX
fails at once and says so, while the team leaves that server alone for RETRY_MAX.

Exponential back-off with equal jitter: M. Brooker, *Exponential Backoff And Jitter* (AWS
Architecture Blog, 2015). A Retry-After is a floor, not a guess: RFC 9110, section 10.2.3.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from protocol.clocks import SECOND
from protocol.events import RETRY_MAX

RETRY_MAX_S = RETRY_MAX / SECOND
_JITTER = 0.1  # on top of a Retry-After, so that a team does not return in step


def read_retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """The seconds a response asks to wait: `retry-after-ms`, or Retry-After in seconds or as a
    date. None if it does not say, or says nothing sensible."""
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000.0
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    seconds = _number(text)
    if seconds is not None:
        return seconds
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - (now or datetime.now(UTC))).total_seconds())


def wait_s(
    tries: int,
    first_s: float,
    most_s: float,
    retry_after_s: float | None,
    randomness: random.Random,
) -> float:
    """How long to wait after the `tries`-th failure (1 is the first)."""
    assert tries >= 1
    if retry_after_s is not None:
        return retry_after_s * (1.0 + _JITTER * randomness.random())
    ceiling = min(most_s, first_s * 2.0 ** min(tries - 1, 30))
    return ceiling * (0.5 + 0.5 * randomness.random())


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0.0 <= number < float("inf") else None
