"""A team of real processes against a model that serves so many calls a second and refuses the rest
with 429: what share of its calls is refused, and how much of what is allowed it uses.

Both are counted where they happen, at the model. The first second is left out: nobody knows a limit
before it is met, and an endpoint's bucket is full then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from yarl import URL

from node.agents.settings import RATE_VARIABLE
from node.jobfile import with_fresh_id
from node.lab.cluster import ModelOptions
from node.lab.door import Door
from node.lab.run_job import RunOptions, local_run
from protocol.jobs import Job, Task

QUESTION = "How many of five voters must agree?"  # in the simulated model's book
FIRST_S = 1.0
TOO_MANY = 429
REFUSED_GOAL = 0.02
USED_GOAL = 0.9
RUN_TIMEOUT_S = 900.0


@dataclass(frozen=True, slots=True)
class Load:
    """What a team shall do: so many calls, at a model that serves `rate` a second. `speed` is the
    model's; if a call takes 1.6 s / speed, then so many nodes could make nodes * speed / 1.6."""

    nodes: int = 16
    rate: float = 10.0
    calls: int = 400
    speed: float = 4.0
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Pace:
    """How a team kept to a limit. `refused` is the share of the calls after the first second that
    met a 429; `used` is what was served after it, over what might have been until the last call."""

    calls: int
    refused: float
    used: float
    seconds: float

    @property
    def is_good(self) -> bool:
        """Whether the goals are met."""
        return self.refused < REFUSED_GOAL and self.used >= USED_GOAL

    def __str__(self) -> str:
        return (
            f"{self.calls} calls in {self.seconds:.1f} s, after the first second "
            f"{self.refused:.1%} refused (goal < {REFUSED_GOAL:.0%}) and {self.used:.1%} of the "
            f"limit used (goal {USED_GOAL:.0%})"
        )


async def measure(load: Load, is_told: bool) -> tuple[Pace, bool]:
    """(pace, whether all was answered) of one run. `is_told`: the nodes know the limit from
    QUORATE_RATE; else they have to learn it."""
    options = RunOptions(
        nodes=load.nodes,
        model=ModelOptions(
            speed=load.speed,
            seed=load.seed,
            extra=("--keep-calls", "--requests-per-second", str(load.rate)),
        ),
        timeout_s=RUN_TIMEOUT_S,
        environment={RATE_VARIABLE: str(load.rate) if is_told else ""},
    )
    async with local_run(job_of(load), options) as run:
        outcome = await run.execute(lambda: None)
        async with Door(URL(run.cluster.model.url).authority, "") as model:
            calls = (await model.get("/v1/calls"))["calls"]
    return pace_of(calls, load.rate), outcome.is_good and outcome.is_accepted_once


def job_of(load: Load) -> Job:
    """As many questions as there shall be calls, all of which may be asked at once."""
    tasks = tuple(Task(f"q{number}", QUESTION) for number in range(load.calls))
    return with_fresh_id(Job("limited", "limited", tasks))


def pace_of(calls: Sequence[Mapping[str, Any]], rate: float) -> Pace:
    """From the model's own record: when each call came, in order, and with which status it was
    answered."""
    if not calls:
        return Pace(0, 0.0, 0.0, 0.0)
    begin = calls[0]["at_s"] + FIRST_S
    later = [call for call in calls if call["at_s"] > begin]
    served = [call["at_s"] for call in later if call["status"] != TOO_MANY]
    refused = len(later) - len(served)
    end = max(served, default=begin)
    return Pace(
        len(calls),
        refused / len(later) if later else 0.0,
        len(served) / (rate * (end - begin)) if end > begin else 0.0,
        calls[-1]["at_s"] - calls[0]["at_s"],
    )
