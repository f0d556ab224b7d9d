"""What one agent alone would have taken for the work of a run, as far as it was seen: what the team
took for each task, one after the other, so that it has the checks and acceptances in it, as a plan
has.

    counts          the answers that were needed, each from its begin to its end, and every attempt
                    that failed, for one agent would have had to make it too
    does not count  what only a team does: what was stopped or came late, and what a clone did. A
                    race that a clone has won counts from the begin of who held the task: that one
                    would have taken longer still, so that the figure is then too low

Invariant: where nothing failed and each task has one answer, it is the sum of what is measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from node.lab.chances import answers_needed
from node.lab.watch import Progress
from protocol.jobs import Job, Task

_Attempt: TypeAlias = tuple[int, int]  # slot, token; clones have that of whom they race


def work_of(
    job: Job, progress: Progress, view: Mapping[str, Any]
) -> dict[str, Sequence[float]] | None:
    """By task, the seconds of each answer that one agent had to give, failed attempts with the
    first; None if a task has none, or not all of it was seen. `view` is the job as a node shows
    it."""
    facts: dict[str, list[dict[str, Any]]] = {task.id: [] for task in job.tasks}
    for fact in sorted(progress.facts, key=lambda fact: float(fact["ts"])):
        if fact.get("job") == job.id and fact.get("task") in facts:
            facts[fact["task"]].append(fact)
    accepted = {task["id"]: task["accepted"] for task in view["tasks"]}
    work: dict[str, Sequence[float]] = {}
    for task in job.tasks:
        answer = accepted.get(task.id)
        accepted_at = progress.tasks[task.id].accepted_at
        lengths = _lengths(task, facts[task.id], answer, accepted_at) if answer else []
        if not lengths:
            return None
        work[task.id] = lengths
    return work


def _lengths(
    task: Task, facts: Sequence[dict[str, Any]], accepted: Mapping[str, Any], accepted_at: float
) -> list[float]:
    """Of one task; empty if not all of it was seen."""
    attempts = _Attempts()
    for fact in facts:
        attempts.take(fact)
    last = (accepted["slot"], accepted["token"])
    attempts.complete(last, accepted_at)
    own = attempts.done.pop(last, None)
    others = sorted(attempts.done.values(), key=lambda each: each[1])
    needed = answers_needed(task) - 1
    if own is None or len(others) < needed:
        return []
    lengths = [end - begin for begin, end in (own, *others[:needed])]
    if min(lengths) <= 0.0:
        return []
    return [lengths[0] + attempts.failed_s, *lengths[1:]]


class _Attempts:
    """Those at one task: when they were begun, when the complete ones were and ended."""

    def __init__(self) -> None:
        self.done: dict[_Attempt, tuple[float, float]] = {}
        self.failed_s = 0.0
        self._begun: dict[_Attempt, dict[str, float]] = {}  # by node
        self._racers: set[tuple[_Attempt, str]] = set()

    def take(self, fact: Mapping[str, Any]) -> None:
        kind, at, node = fact["type"], float(fact["ts"]), fact["at"]
        if kind not in ("TaskStarted", "TaskCompleted", "AttemptFailed", "AttemptAborted"):
            return
        attempt = (fact["slot"], fact["token"])
        if kind == "TaskStarted":
            self._begun.setdefault(attempt, {})[node] = at
            if fact["races"]:
                self._racers.add((attempt, node))
        elif kind == "TaskCompleted":
            if attempt not in self.done:
                self.complete(attempt, at)
        elif kind == "AttemptFailed":
            self._fail(attempt, node, at)

    def complete(self, attempt: _Attempt, at: float) -> None:
        """From the begin of who began first under this token to now."""
        if begun := self._begun.get(attempt):
            self.done[attempt] = (min(begun.values()), at)

    def _fail(self, attempt: _Attempt, node: str, at: float) -> None:
        """Of its own agent, or by the word of another that ran its check."""
        begun_at = self._begun.get(attempt, {}).pop(node, None)
        if begun_at is None and attempt in self.done:
            begun_at, at = self.done.pop(attempt)
        if begun_at is not None and (attempt, node) not in self._racers:
            self.failed_s += at - begun_at
