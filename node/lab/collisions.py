"""How often two nodes claim the same task at once, in LEASE mode: in simulation, where a message
takes as long as it is told to, and on real processes, where it takes what the machine makes of it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from node import jobfile
from node.lab import team_study
from node.lab.cluster import ModelOptions
from node.lab.run_job import RunFailed, RunOptions, local_run
from protocol.jobs import ClaimMode

GOAL = 0.02  # of all claims
RUN_TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class Collisions:
    """`claims` are all that were made, `lost` those that gave way to another made at the same
    time."""

    claims: int = 0
    lost: int = 0

    def plus(self, other: Collisions) -> Collisions:
        return Collisions(self.claims + other.claims, self.lost + other.lost)

    @property
    def share(self) -> float:
        return self.lost / self.claims if self.claims else 0.0

    @property
    def is_good(self) -> bool:
        """Whether there were any claims, and the goal is met."""
        return bool(self.claims) and self.share < GOAL

    def __str__(self) -> str:
        return f"{self.lost} of {self.claims} claims collided: {self.share:.1%} (goal < {GOAL:.0%})"


def simulated(nodes: int, shape: str, seeds: int) -> Collisions:
    """The lists of one shape with the measured latencies of every model, one after the other."""
    total = Collisions()
    for run in team_study.measure(
        team_study.Cell(nodes, ClaimMode.LEASE), seeds=seeds, shapes=(shape,)
    ):
        # A claim ends with the task's acceptance, with a failure, or because it collided.
        claims = team_study.TASKS + run.failed + run.conflicts
        total = total.plus(Collisions(claims, run.conflicts))
    return total


async def measured(source: str, nodes: int, seed: int, speed: float) -> Collisions:
    """One run of a list on real processes, by what the nodes tell."""
    job = jobfile.with_fresh_id(jobfile.read(source, "simulated"), ClaimMode.LEASE)
    model = ModelOptions(speed=speed, seed=seed)
    options = RunOptions(nodes=nodes, model=model, timeout_s=RUN_TIMEOUT_S)
    async with local_run(job, options) as run:
        outcome = await run.execute(lambda: None)
        if outcome.given_up:
            raise RunFailed(outcome.given_up)
        facts = run.progress.facts
    # Who claims in the store starts at once.
    begun = sum(fact["type"] == "TaskStarted" and not fact["races"] for fact in facts)
    return Collisions(begun, Counter(fact["type"] for fact in facts)["ClaimLost"])
