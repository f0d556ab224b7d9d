"""A race of real processes: what is overdue is raced, the first verified result wins, and the other
agent is stopped at once, with all its children, and what it used is counted."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from node import jobfile
from node.lab.cluster import ModelOptions
from node.lab.run_job import RunOptions, local_run, run_job
from protocol.jobs import ClaimMode, Job, Speculation, Task

STOPPED_WITHIN_S = 1.0  # it takes a few milliseconds; the machine may be busy
# The first agent at the task would take ten minutes, as would its child; the second is quick.
FIRST_HANGS = (
    "if mkdir {folder}/begun; then sleep 600 & echo $! > {folder}/child; wait; fi; echo it"
)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def of_kind(facts: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Those about the task that is raced; the other one may be, on a slow machine."""
    return [fact for fact in facts if fact["type"] == kind and fact["task"] == "t"]


async def test_the_first_verified_result_wins_and_the_other_agent_is_stopped(
    tmp_path: Path,
) -> None:
    line = FIRST_HANGS.format(folder=tmp_path)
    task = Task(
        "t", "", writes=("t.txt",), agent="command", program=line, verify="grep -q it t.txt"
    )
    # The job goes on for long enough to hear how the race ends.
    after = Task(
        "u", "", needs=("t",), writes=("u.txt",), agent="command", program="sleep 1; echo u"
    )
    # One holder by the log, and one other: no two claims of the task, or of the race, collide.
    race = Speculation(1, 0, after_s=2.0)
    job = Job("race", "race", (task, after), claims=ClaimMode.RAFT, speculation=race)
    async with local_run(job, RunOptions(nodes=2, timeout_s=60.0)) as run:
        outcome = await run.execute(lambda: None)
        child = int((tmp_path / "child").read_text())
        facts = run.progress.facts
        assert not is_running(child)
    assert outcome.succeeded
    assert outcome.agreed
    holder, racer = of_kind(facts, "TaskStarted")
    assert (holder["races"], racer["races"]) == (False, True)
    accepted = of_kind(facts, "TaskAccepted")
    assert {fact["node"] for fact in accepted} == {racer["at"]}
    (stopped,) = of_kind(facts, "AttemptAborted")
    assert stopped["at"] == holder["at"]
    heard = [fact for fact in accepted if fact["at"] == holder["at"]]
    assert 0 <= stopped["happened"] - heard[0]["happened"] < STOPPED_WITHIN_S


def test_what_those_used_who_lost_a_race_is_counted() -> None:
    """Every task of the longest chain is raced at once, by a client of a model."""
    job = jobfile.with_fresh_id(jobfile.read("mathutils_p02", "simulated"), ClaimMode.LEASE)
    job = replace(job, speculation=Speculation(1, 0))
    options = RunOptions(nodes=3, model=ModelOptions(speed=25.0), timeout_s=120.0)
    outcome = asyncio.run(run_job(job, options))
    assert outcome.is_good, outcome
    assert outcome.is_accepted_once
    assert outcome.races > 0
    assert outcome.tokens_lost > 0
