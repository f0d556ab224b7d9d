"""Whether a job's budget suffices for what is planned: said before the run, not when it fails.

What a call may use is reserved before it begins, and is more than what it then uses: the last call
needs room for all of that. So a budget must hold what is planned and that room.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from node.agents.permits import Prices
from node.agents.prices import why_no_price
from node.lab.forecasting import Forecast
from node.lab.sending import least_reserved
from protocol.jobs import MODEL_KINDS, Amount, Job


def shortages(
    job: Job,
    forecast: Forecast,
    unit: str,
    prices: Prices | None,
    environment: Mapping[str, str] = os.environ,
) -> Iterator[str]:
    """What the budget lacks for a team of this forecast, in plain words; nothing if it suffices, or
    if nothing is limited."""
    budget = job.budget
    if unit == "s" and 0.0 < budget.wall_s < forecast.makespan:
        yield (
            f"the budget of {budget.wall_s:g} s is too small: {_team(forecast)} needs "
            f"{forecast.makespan:.1f} s"
        )
    if not budget.is_metered or not any(task.agent in MODEL_KINDS for task in job.tasks):
        return
    asks_real = any(task.agent == "openai" for task in job.tasks)
    if budget.usd and not asks_real:
        yield "budget.usd has no effect: simulated and local agents cost no money"
    elif budget.usd and prices is None:
        model = environment.get("OPENAI_MODEL", "").strip()
        why = why_no_price(model) if model else "no model is chosen: set OPENAI_MODEL"
        yield f"the budget of {budget.usd:g} USD cannot be kept, and 'run' refuses it: {why}"
    least = least_reserved(job, prices)
    if least is not None and not budget.whole.covers(least):
        yield f"{budget.too_small_for(least)}: none can be made"
        return
    # What a real endpoint's calls reserve is learnt from its first answers, and then is less.
    yield from _below_plan(job, forecast, Amount() if asks_real else least or Amount())


def _below_plan(job: Job, forecast: Forecast, room: Amount) -> Iterator[str]:
    """`room` is what a call reserves at the least."""
    budget = job.budget
    calls = sum(task.agent in MODEL_KINDS for task in job.tasks)
    tokens = forecast.tokens_in + forecast.tokens_out
    last = max(0, room.tokens - tokens // calls)  # beyond what it will then use
    if 0 < budget.tokens < tokens + last:
        yield (
            f"the budget of {budget.tokens} tokens is too small: {_team(forecast)} needs {tokens}"
            + (f", and {last} more are reserved before the last call" if last else "")
        )
    usd = forecast.usd
    if usd is not None and 0.0 < budget.usd < usd:
        yield (
            f"the budget of {budget.usd:g} USD is too small: {_team(forecast)} needs {usd:.4g} USD "
            "(estimated)"
        )


def _team(forecast: Forecast) -> str:
    return "one agent" if forecast.agents == 1 else f"a team of {forecast.agents}"
