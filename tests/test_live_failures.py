"""Real processes, one of which fails or lies, and a model that goes away and comes back."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from node import jobfile
from node.agents.scratch import ROOT_RECORD
from node.lab.cluster import Cluster, ModelOptions
from node.lab.processes import stop_all
from protocol.jobs import ClaimMode, Job, Task, VerifyBy

FAST = ModelOptions(speed=25.0)
TIMEOUT_S = 90


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A team for all tests: each leaves it whole, with its model."""
    cluster = Cluster.create(tmp_path_factory.mktemp("team") / "team", 3)
    try:
        cluster.start(FAST)
        yield cluster
    finally:
        cluster.stop()


async def test_a_node_whose_programs_always_fail_fails_no_job_in_any_claim_mode(
    team: Cluster, tmp_path: Path
) -> None:
    """The program knows by its folder which node has started it, and leaves a file each time that
    it fails. Two failures of a task would be the end of it."""
    failed = tmp_path / "failed"
    failed.mkdir()
    mark = f'touch "{failed}/$QUORATE_JOB $QUORATE_TASK $QUORATE_ATTEMPT"'
    bad = (team.data_dir(team.nodes[2]) / ROOT_RECORD).read_text()
    program = f'case "$PWD" in "{bad}"/*) {mark}; exit 1;; esac; sleep 0.1; echo done'
    tasks = tuple(
        Task(
            f"t{number}",
            "",
            writes=(f"t{number}.txt",),
            agent="command",
            program=program,
            attempts_max=2,
        )
        for number in range(10)
    )
    doors = team.doors()
    async with asyncio.timeout(TIMEOUT_S):
        for mode in ClaimMode:
            await doors.submit(Job(mode.value, mode.value, tasks, claims=mode))
            end = await doors.await_end(mode.value)
            assert end["succeeded"], end
    tried = Counter(tuple(path.name.split(" ")[:2]) for path in failed.iterdir())
    assert tried, "the bad node has tried"
    assert set(tried.values()) == {1}, "and left to the others what it had failed"


async def test_a_node_that_lies_about_its_work_is_found_out_in_any_claim_mode(
    team: Cluster,
) -> None:
    """What it makes is wrong, and its own check passes all the same."""
    liar = team.nodes[1]
    lies = (team.data_dir(liar) / ROOT_RECORD).read_text()
    program = f'case "$PWD" in "{lies}"/*) echo wrong; exit;; esac; sleep 0.1; echo right'
    check = f'case "$PWD" in "{lies}"/*) exit 0;; esac; grep -qx right {{}}.txt'
    tasks = tuple(
        Task(
            name,
            "",
            writes=(f"{name}.txt",),
            agent="command",
            program=program,
            verify=check.format(name),
            verify_by=VerifyBy.OTHER,
        )
        for name in ("a", "b", "c", "d", "e", "f")
    )
    doors = team.doors()
    async with asyncio.timeout(TIMEOUT_S):
        for mode in ClaimMode:
            job = f"lies-{mode.value}"
            await doors.submit(Job(job, job, tasks, claims=mode))
            end = await doors.await_end(job)
            assert end["succeeded"], end
            files = await doors.files(job)
            assert {file.path: file.content for file in files} == {
                f"{task.id}.txt": b"right\n" for task in tasks
            }
            wrong = [answer for task in end["tasks"] for answer in task["late"] if answer["fault"]]
            assert {answer["name"] for answer in wrong} == {liar.name}, "it has lied"
            assert liar.name not in {answer["reviewer"] for answer in wrong}


@pytest.mark.parametrize("claims", [ClaimMode.LEASE, ClaimMode.LEADER])
async def test_a_rolling_restart_costs_no_attempt(team: Cluster, claims: ClaimMode) -> None:
    """Each task may be attempted once, and a node that dies over it is the end of it."""
    tasks = tuple(
        Task(f"t{number}", "", agent="command", program="sleep 0.7; echo done", attempts_max=1)
        for number in range(12)
    )
    job = f"rolling-{claims.value}"
    doors = team.doors()
    async with asyncio.timeout(TIMEOUT_S):
        await doors.submit(Job(job, job, tasks, claims=claims))
        for node in team.nodes:
            await asyncio.sleep(0.5)
            assert stop_all([node.process]) == [], "it ends when it is told to"
            await asyncio.to_thread(team.start, FAST)
        end = await doors.await_end(job)
    assert end["succeeded"], end


async def test_a_model_that_goes_away_and_comes_back_costs_no_attempt(team: Cluster) -> None:
    """Each task may be attempted once."""
    job = jobfile.with_fresh_id(jobfile.read("mathutils_p05", "simulated"))
    job = replace(job, tasks=tuple(replace(task, attempts_max=1) for task in job.tasks[:8]))
    team.model.process.signal(signal.SIGKILL)
    doors = team.doors()
    async with asyncio.timeout(TIMEOUT_S):
        await doors.submit(job)
        reasons: Counter[str] = Counter()
        while len(reasons) < 1:
            await asyncio.sleep(0.1)
            state = await doors.get(f"/v1/jobs/{job.id}")
            failures = [each for task in state["tasks"] for each in task["failures"]]
            reasons.update(failure["reason"] for failure in failures)
            assert all(team.model.url in failure["detail"] for failure in failures)
        assert set(reasons) == {"unreachable"}
        await asyncio.to_thread(team.start, FAST)
        end = await doors.await_end(job.id)
    assert end["succeeded"], end
