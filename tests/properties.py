"""How properties are tried: the same examples in every run, a bounded number, no stop-watch."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

EXAMPLES_MAX = 80

bounded = settings(
    max_examples=EXAMPLES_MAX,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
