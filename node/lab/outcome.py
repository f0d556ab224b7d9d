"""What came of a run: the agreed result, who did what, and how it compares with the ideal."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from node.lab.prediction import Planned
from node.lab.watch import Progress
from node.model.latency import key_of, latency_s
from protocol.events import Failure
from protocol.jobs import Job
from protocol.team.notes import LACKING

_UNCOUNTED = LACKING | {Failure.UNREACHABLE.value}


@dataclass(frozen=True, slots=True)
class Outcome:
    """A run that is over. Times in seconds. `digests` is the outcome as every living node reports
    it. `alone_s` is what one agent would have taken for the same work (see `alone`), and
    `scheduled_s` the list schedule of that work for the team, which is what it would have taken
    without any coordination; None where not all of it was seen.

    Of the latencies alone that the simulated model drew, without what is beside them: `work_s` is
    their sum, `ideal_s` their list schedule in the team's own order, `clairvoyant_s` the one of who
    knows them beforehand; None where other agents took part, or answers were compared.

    `planned` is what `quorate plan` says of a team of this size; `measured` is what the accepted
    attempts took and used, from which the next plan can be made."""

    job: str
    nodes: int
    claims: str
    succeeded: bool
    agreed: bool
    outcome: str
    digests: dict[str, str]
    tasks: list[dict[str, Any]]
    done_by: dict[str, int]
    leader: str
    term: int
    elected_s: float
    makespan_s: float
    alone_s: float | None
    scheduled_s: float | None
    work_s: float | None
    ideal_s: float | None
    clairvoyant_s: float | None
    planned: Planned | None
    amdahl: float
    work_span: float
    tokens_in: int
    tokens_out: int
    tokens_lost: int  # by attempts that were stopped, failed, or came late
    simulated: bool
    spent: dict[str, Any]  # by all attempts, in money too, which is estimated
    costs: list[dict[str, Any]]  # of that the parts by task, node and model
    budget: dict[str, Any]
    siblings: list[dict[str, Any]]
    merges: list[dict[str, Any]]  # what became of them, also where nobody could merge them
    failed_attempts: int  # that say something about their task, and cost one of its attempts
    uncounted_attempts: int  # those that do not: a node has no such program, or reaches no model
    failed_by_task: dict[str, int]  # those that count, of the tasks that had any
    races: int
    late_results: int
    collisions: int
    hand_on_ms: dict[str, float]
    measured: dict[str, dict[str, float]]
    checks: dict[str, str]
    faults: list[str]
    output: str
    warnings: list[str]
    given_up: str  # why it was not waited for the end; what was accepted by then is here
    left: dict[str, str]  # task -> files that its program wrote and that it does not write

    @property
    def is_good(self) -> bool:
        """Accepted everywhere, agreed by everybody, and every check passes on the output."""
        return self.succeeded and self.agreed and not any(self.checks.values())

    @property
    def is_accepted_once(self) -> bool:
        """Every task has one acceptance, at a log index of its own."""
        indexes = Counter(task["accepted"]["index"] for task in self.tasks if task["accepted"])
        return len(indexes) == len(self.tasks) and set(indexes.values()) == {1}

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def hand_on_delays(job: Job, progress: Progress) -> list[float]:
    """Seconds from the last acceptance that a task had to wait for, to its start on a node other
    than the one whose result that was; only where that node was idle at the time."""
    delays = []
    needs = job.needs
    busy = _busy_intervals(progress)
    for fact in progress.facts:
        if fact["type"] != "TaskStarted" or fact["job"] != progress.job:
            continue
        wanted = [progress.tasks[need] for need in needs.get(fact["task"], ())]
        if not wanted or any(not task.accepted_at for task in wanted):
            continue
        last = max(wanted, key=lambda task: task.accepted_at)
        at = last.accepted_at
        was_busy = any(begin < at < end for begin, end in busy.get(fact["at"], ()))
        if last.accepted_by != fact["at"] and not was_busy and fact["token"] == 1:
            delays.append(max(0.0, float(fact["ts"]) - at))
    return delays


def _busy_intervals(progress: Progress) -> dict[str, list[tuple[float, float]]]:
    """When each node was running an agent."""
    ends = ("TaskCompleted", "AttemptFailed", "AttemptAborted")
    begun: dict[tuple[str, str, int], float] = {}
    busy: dict[str, list[tuple[float, float]]] = {}
    for fact in progress.facts:
        if fact.get("job") != progress.job:
            continue
        key = (fact["at"], fact.get("task", ""), fact.get("token", 0))
        if fact["type"] == "TaskStarted":
            begun[key] = float(fact["ts"])
        elif fact["type"] in ends and key in begun:
            busy.setdefault(fact["at"], []).append((begun.pop(key), float(fact["ts"])))
    return busy


def left_behind(progress: Progress) -> dict[str, str]:
    """By task, in the order in which they ended: what programs wrote beside their tasks' files."""
    return {
        fact["task"]: fact["left"]
        for fact in progress.facts
        if fact["type"] == "TaskCompleted" and fact["job"] == progress.job and fact.get("left")
    }


def percentiles_ms(delays_s: list[float]) -> dict[str, float]:
    """Count, median, 99th percentile and maximum, in milliseconds; empty without a sample."""
    if not delays_s:
        return {}
    ordered = sorted(delays_s)
    return {
        "count": len(ordered),
        "p50": round(statistics.median(ordered) * 1000, 2),
        "p99": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1000, 2),
        "max": round(ordered[-1] * 1000, 2),
    }


def drawn_lengths(
    job: Job, model: str, seed: int, speed: float, failures: Mapping[str, int]
) -> dict[str, float] | None:
    """The seconds that the simulated model drew for each task: for its first attempt, and for as
    many more as failed. None if a task has another agent, or several answers, of which nobody can
    say afterwards who drew which."""
    if any(task.agent != "simulated" or task.quorum.of > 1 for task in job.tasks):
        return None
    return {
        task.id: sum(
            latency_s(model, seed, key_of(task.writes, task.prompt), attempt, len(task.writes))
            for attempt in range(1 + failures.get(task.id, 0))
        )
        / speed
        for task in job.tasks
    }


def measured_in(progress: Progress, view: dict[str, Any]) -> dict[str, dict[str, float]]:
    """What the attempts took and used whose results were accepted, task by task, as far as their
    begin and end were seen; `view` is the job as a node shows it."""
    begun = {
        (fact["task"], fact["at"], fact["token"]): float(fact["ts"])
        for fact in progress.facts
        if fact["type"] == "TaskStarted" and fact["job"] == progress.job
    }
    found: dict[str, dict[str, float]] = {}
    for task in view["tasks"]:
        answer, ended_at = task["accepted"], progress.tasks[task["id"]].accepted_at
        begun_at = begun.get((task["id"], answer["node"], answer["token"])) if answer else None
        if begun_at is not None and ended_at > begun_at:
            found[task["id"]] = {
                "took_s": round(ended_at - begun_at, 3),
                "tokens_in": answer["tokens_in"],
                "tokens_out": answer["tokens_out"],
            }
    return found


def failures_in(progress: Progress) -> tuple[dict[str, int], int]:
    """How many attempts have failed that count, by task, without tasks that had none; and how many
    that cost their task none."""
    failed = [
        fact
        for fact in progress.facts
        if fact["type"] == "AttemptFailed" and fact["job"] == progress.job
    ]
    counted = Counter(fact["task"] for fact in failed if fact.get("reason") not in _UNCOUNTED)
    return dict(sorted(counted.items())), len(failed) - counted.total()
