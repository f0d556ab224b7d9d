"""What was to be expected of a run, and what came of it: said after it, beside each other.

Invariant: what is expected does not depend on how the run went; it could have been had before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from node.lab.cluster import ModelOptions
from node.lab.expecting import expectation_of
from node.lab.forecasting import forecasts_of
from protocol.jobs import Job


@dataclass(frozen=True, slots=True)
class Planned:
    """What was to be expected: the median makespan, and between what 90 % should lie; the mean
    tokens, read and written, and between what 90 % should lie in all; and what this goes by."""

    makespan_s: float
    low_s: float
    high_s: float
    tokens_in: int = 0
    tokens_out: int = 0
    source: str = ""
    tokens_low: int = 0
    tokens_high: int = 0


def planned_for(job: Job, nodes: int, model: ModelOptions | None) -> Planned | None:
    """What a team of so many should take; None if nothing is known of how long tasks take. `model`
    is how the simulated model behaves; None if that is not known."""
    if model is None and any(task.agent == "simulated" for task in job.tasks):
        return None
    options = model or ModelOptions()
    expectation = expectation_of(job, options.model, options.speed, ())
    success = 1.0 - options.wrong
    if not expectation.unit or not success:
        return None
    forecast = forecasts_of(job, expectation, (nodes,), success, options.seed)[-1]
    return Planned(
        forecast.makespan,
        forecast.low,
        forecast.high,
        forecast.tokens_in,
        forecast.tokens_out,
        expectation.source,
        forecast.tokens_low,
        forecast.tokens_high,
    )


def comparison(
    planned: Planned, took_s: float, tokens: int, succeeded: bool = True
) -> Iterator[str]:
    """For people: the time that was planned and the one that it took, then the `tokens` used. What
    was planned is the whole job: one that failed has done less, or more in vain, and is not
    compared."""
    expected = planned.tokens_in + planned.tokens_out
    if not succeeded:
        amount = f" and {expected} tokens" if expected else ""
        yield (
            f"planned {planned.makespan_s:.1f} s{amount} for the whole job; it failed, so that "
            "nothing is compared"
        )
        return
    between = f"{planned.low_s:.1f}-{planned.high_s:.1f}"
    text = f"planned {planned.makespan_s:.1f} s ({between}), took {took_s:.1f} s"
    if took_s > planned.high_s:
        text += f": longer than 95 % of the draws by {planned.source}"
    elif took_s < planned.low_s:
        text += f": shorter than 95 % of the draws by {planned.source}"
    yield text
    if expected:
        low, high = planned.tokens_low, planned.tokens_high
        between = f" ({low}-{high})" if low < high else ""
        text = f"planned {expected} tokens{between}, used {tokens}"
        text += f" ({tokens / expected:.2f} times as many)"
        if between and not low <= tokens <= high:
            text += f": {'more' if tokens > high else 'fewer'} than in 95 % of the draws"
        yield text
