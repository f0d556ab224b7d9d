"""What one agent alone would have taken: the same answers and failures, one after the other."""

from __future__ import annotations

from typing import Any

import pytest
from ledger_hand import job, task

from node.lab.alone import work_of
from node.lab.outcome import drawn_lengths, failures_in
from node.lab.watch import Progress, TaskProgress
from node.model.latency import key_of, latency_s
from protocol.jobs import Compare, Job, Quorum


def fact(
    kind: str, at: str, ts: float, token: int = 1, slot: int = 0, task: str = "a", **more: Any
) -> dict[str, Any]:
    said = {"type": kind, "at": at, "ts": ts, "job": "job", "task": task}
    return {**said, "slot": slot, "token": token, **more}


def began(at: str, ts: float, races: bool = False, **more: Any) -> dict[str, Any]:
    return fact("TaskStarted", at, ts, races=races, **more)


def work(
    found: Job, facts: list[dict[str, Any]], accepted_at: float, slot: int = 0, token: int = 1
) -> Any:
    """Of a job with a task `a`, of which this answer was accepted."""
    progress = Progress("job", {"a": TaskProgress("a", accepted_at=accepted_at)}, facts=facts)
    return work_of(
        found, progress, {"tasks": [{"id": "a", "accepted": {"slot": slot, "token": token}}]}
    )


def test_an_answer_counts_to_its_acceptance_and_failed_attempts_with_it() -> None:
    facts = [
        began("ada", 10.0),
        fact("AttemptFailed", "ada", 13.0),
        began("bob", 14.0, token=2),
        fact("TaskCompleted", "bob", 15.0, token=2),
    ]
    assert work(job(task("a")), facts, 15.5, token=2) == {"a": [1.5 + 3.0]}


def test_an_attempt_that_another_s_check_has_refused_has_failed() -> None:
    facts = [
        began("ada", 10.0),
        fact("TaskCompleted", "ada", 12.0),
        fact("AttemptFailed", "bob", 12.5),
        began("ada", 13.0, token=2),
    ]
    assert work(job(task("a")), facts, 14.0, token=2) == {"a": [1.0 + 2.0]}


def test_of_a_race_the_holder_counts_whoever_wins_it_and_no_clone() -> None:
    facts = [
        began("ada", 10.0),
        began("bob", 12.0, races=True),
        began("cyd", 12.0, races=True),
        fact("AttemptFailed", "cyd", 13.0),
        fact("TaskCompleted", "bob", 14.0),
        fact("AttemptAborted", "ada", 14.0),
    ]
    assert work(job(task("a")), facts, 14.0) == {"a": [4.0]}


@pytest.mark.parametrize(
    ("quorum", "lengths"),
    [(Quorum(3, 2), [2.0, 1.0]), (Quorum(3, 2, Compare.JUDGE), [2.0, 1.0, 4.0])],
)
def test_one_agent_gives_as_many_answers_as_must_agree(
    quorum: Quorum, lengths: list[float]
) -> None:
    facts = [
        *(began(node, 10.0, slot=slot) for slot, node in enumerate(("ada", "bob", "cyd"))),
        fact("TaskCompleted", "ada", 11.0, slot=0),
        fact("TaskCompleted", "bob", 12.0, slot=1),
        fact("TaskCompleted", "cyd", 14.0, slot=2),
    ]
    assert work(job(task("a", quorum=quorum)), facts, 12.0, slot=1) == {"a": lengths}


def test_nothing_is_said_of_work_that_was_not_seen() -> None:
    assert work(job(task("a")), [], 12.0) is None
    assert work(job(task("a", quorum=Quorum(2, 2))), [began("ada", 10.0)], 12.0) is None
    progress = Progress("job", {"a": TaskProgress("a")}, facts=[began("ada", 10.0)])
    assert work_of(job(task("a")), progress, {"tasks": [{"id": "a", "accepted": None}]}) is None


def test_failures_are_counted_by_task_and_have_drawn_latencies_too() -> None:
    facts = [fact("AttemptFailed", "ada", 1.0), fact("AttemptFailed", "bob", 2.0, task="b")]
    facts += [fact("AttemptFailed", "ada", 3.0), {**facts[0], "job": "other"}]
    progress = Progress("job", {}, facts=facts)
    failures, uncounted = failures_in(progress)
    assert (failures, uncounted) == ({"a": 2, "b": 1}, 0)
    found = job(task("a"), task("c"))
    drawn = drawn_lengths(found, "gpt", 7, 2.0, failures)
    assert drawn is not None
    of_a, of_c = found.tasks
    key, files = key_of(of_a.writes, of_a.prompt), len(of_a.writes)
    three = sum(latency_s("gpt", 7, key, attempt, files) for attempt in range(3))
    assert drawn["a"] == pytest.approx(three / 2.0)
    assert drawn["c"] == latency_s("gpt", 7, key_of(of_c.writes, of_c.prompt), 0, files) / 2.0
    voted = job(task("a", quorum=Quorum(3, 2)))
    assert drawn_lengths(voted, "gpt", 7, 2.0, {}) is None, "nobody knows who drew which"
