"""The settings of the simulated model: whom it imitates, how fast, and how it misbehaves.

Invariant: knobs that exist are valid; the constructor refuses anything else by name.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

MODELS = ("gpt", "claude", "gemini")  # whose measured figures can be imitated
SPEED_MAX = 1_000_000.0


@dataclass(frozen=True, slots=True)
class ModelKnobs:
    """Everything that shapes the answers. Same knobs and same questions: same answers.

    `speed` divides every latency. Fields in [0, 1] are the share of requests a fault befalls.
    """

    model: str = "gpt"
    seed: int = 0
    speed: float = 1.0
    http_429: float = 0.0  # refused with Retry-After
    http_5xx: float = 0.0  # refused with 500, 502 or 503
    hang: float = 0.0  # accepted and never answered
    garbage: float = 0.0  # answered with something that is no answer
    wrong: float = 0.0  # answered plausibly, with code or words that are wrong
    slow: float = 0.0  # answered after ten times the latency
    break_stream: float = 0.0  # connection dropped in mid-answer
    refuse: float = 0.0  # answered with a refusal
    truncate: float = 0.0  # cut off at half of the answer, as at a token limit
    overflow: float = 0.0  # refused because the prompt is too long
    empty: float = 0.0  # answered with nothing
    requests_per_second: float = 0.0  # above it 429; 0 means no limit
    keep_calls: bool = False  # a record of them at GET /v1/calls, for measurements

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise ValueError(f"model {self.model!r} is not known: use one of {', '.join(MODELS)}")
        if not 0.0 < self.speed <= SPEED_MAX:
            raise ValueError(f"speed {self.speed} must be above 0 and at most {SPEED_MAX:g}")
        for name in RATES:
            rate = getattr(self, name)
            if not 0.0 <= rate <= 1.0:
                raise ValueError(f"{name} {rate} is a share of requests: use a value in 0..1")
        if not 0.0 <= self.requests_per_second < float("inf"):
            raise ValueError(
                f"requests_per_second {self.requests_per_second} must be 0 (no limit) or above"
            )


RATES = tuple(
    field.name
    for field in fields(ModelKnobs)
    if field.name not in ("model", "seed", "speed", "requests_per_second", "keep_calls")
)
