"""Many seeds of the simulator at once, in worker processes.

A seed is run whole by one worker; what comes back is a small row. Rows come in the order in which
seeds end, the summary does not depend on it.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process

from protocol.sim.scenario import Verdict, simulate

WAITING_PER_JOB = 4  # seeds handed to the pool beyond those that run: little is left on Ctrl-C
FAILED_MAX = 10  # failed seeds that are told of in full


@dataclass(frozen=True, slots=True)
class Row:
    """What came of one seed. `summary` has all that is needed to repeat it."""

    seed: int
    verdict: Verdict
    checker: str
    virtual_s: float
    steps: int
    events: int
    exercised: tuple[tuple[str, int], ...]
    command: str
    summary: str


@dataclass(slots=True)
class Swarm:
    """What came of all of them so far. `failed` has the lowest seeds first."""

    seeds: int = 0
    verdicts: Counter[Verdict] = field(default_factory=Counter)
    exercised: Counter[str] = field(default_factory=Counter)
    seeds_with: Counter[str] = field(default_factory=Counter)
    virtual_s: float = 0.0
    steps: int = 0
    events: int = 0
    elapsed_s: float = 0.0
    failed: list[Row] = field(default_factory=list)
    is_cut_short: bool = False

    @property
    def worst(self) -> Verdict:
        """The verdict with the highest exit code."""
        return max(self.verdicts, key=lambda verdict: verdict.value, default=Verdict.HELD)

    def take(self, row: Row) -> None:
        """Count one more seed in."""
        self.seeds += 1
        self.verdicts[row.verdict] += 1
        self.virtual_s += row.virtual_s
        self.steps += row.steps
        self.events += row.events
        self.exercised.update(dict(row.exercised))
        self.seeds_with.update(kind for kind, _ in row.exercised)
        if row.verdict is not Verdict.HELD:
            self.failed = sorted([*self.failed, row], key=lambda row: row.seed)[:FAILED_MAX]

    def lines(self) -> list[str]:
        """The summary for people."""
        held = self.verdicts[Verdict.HELD]
        elapsed = max(self.elapsed_s, 0.001)
        lines = [
            f"{held} of {self.seeds} seeds held; {self.seeds / elapsed:.1f} seeds/s, "
            f"{self.events / elapsed:,.0f} events/s, {self.steps / elapsed:,.0f} steps/s, "
            f"{self.virtual_s:,.0f} virtual s in {self.elapsed_s:.1f} s"
        ]
        lines += [
            f"  {kind:16} {times:>10,} times in {self.seeds_with[kind]:,} seeds"
            for kind, times in sorted(self.exercised.items())
        ]
        for verdict, count in sorted(self.verdicts.items(), key=lambda item: item[0].value):
            if verdict is not Verdict.HELD:
                lines.append(f"{verdict.name.lower()}: {count}")
        lines += [f"  {row.checker}: {row.command}" for row in self.failed]
        if self.is_cut_short:
            lines.append("cut short")
        return lines


def run_seed(seed: int) -> Row:
    """Run one seed; called in a worker."""
    outcome = simulate(seed)
    return Row(
        seed,
        outcome.verdict,
        outcome.checker,
        outcome.virtual_s,
        outcome.steps,
        outcome.events,
        outcome.exercised,
        outcome.plan.command,
        outcome.summary(),
    )


def run_swarm(
    first: int,
    count: int,
    jobs: int,
    told: Callable[[Swarm, Row], None] = lambda swarm, row: None,
    run: Callable[[int], Row] = run_seed,
) -> Swarm:
    """Run seeds `first` to `first + count - 1`. `told` hears of each one. Ctrl-C ends it: the seeds
    that are being run are waited for, and what is known by then is returned, as `is_cut_short`."""
    swarm, began = Swarm(), time.monotonic()
    waiting: set[Future[Row]] = set()
    seeds = iter(range(first, first + count))
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_begin_worker)
    try:
        while True:
            while len(waiting) < jobs * (1 + WAITING_PER_JOB):
                seed = next(seeds, None)
                if seed is None:
                    break
                waiting.add(pool.submit(run, seed))
            if not waiting:
                break
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for row in sorted((future.result() for future in done), key=lambda row: row.seed):
                swarm.take(row)
                swarm.elapsed_s = time.monotonic() - began
                told(swarm, row)
    except KeyboardInterrupt:
        swarm.is_cut_short = True
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return swarm


def _begin_worker() -> None:
    """Interrupts are for the parent; and when that is gone, however, so is its worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    parent = parent_process()
    assert parent is not None, "called in a worker"
    parent.join()
    os._exit(1)
