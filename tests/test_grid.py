"""The fault grid, the limited model and the count of collisions: what they measure, and one cell of
the grid on real processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from node.lab import collisions, grid, limited
from node.lab.collisions import Collisions
from node.lab.grid import HARMS, NONE, Cell, Run
from node.lab.schedule import Fault
from node.model.faults import draw_faults
from node.model.knobs import RATES, ModelKnobs
from node.model.latency import key_of
from protocol.errors import QuorateError
from protocol.job_rules import validate
from protocol.jobs import ClaimMode

LEASE, RAFT = ClaimMode.LEASE, ClaimMode.RAFT

# -- the grid --------------------------------------------------------------------------------------


def run(harm: str, seed: int, makespan_s: float, claims: ClaimMode = LEASE, **more: Any) -> Run:
    given: dict[str, Any] = {"is_complete": True, "tokens": 1_000, **more}
    return Run(Cell(harm, claims), seed, makespan_s=makespan_s, **given)


def row(*runs: Run) -> list[str]:
    """The columns of the table's last line."""
    return [column.strip() for column in grid.table(runs)[-1].strip("|").split("|")]


def test_time_lost_stands_beside_the_run_of_the_same_mode_and_seed() -> None:
    alone = [run(NONE, 1, 10.0), run(NONE, 2, 20.0), run(NONE, 3, 30.0), run(NONE, 1, 0.5, RAFT)]
    hurt = [run("kill", 1, 11.0), run("kill", 2, 29.0), run("kill", 3, 33.0)]
    assert row(*alone, *hurt)[4:6] == ["29.0", "+3.0"]


def test_tokens_are_a_multiple_of_those_without_a_fault() -> None:
    assert row(run(NONE, 1, 9.0, tokens=200), run("wrong", 1, 9.0, tokens=250))[-1] == "1.25"


def test_collisions_and_late_results_are_summed_over_a_cells_runs() -> None:
    runs = [run("stop", seed, 9.0, collisions=seed, late=1, doubled=0) for seed in (1, 2)]
    assert row(*runs)[2:] == ["2 of 2", "0", "9.0", "-", "3", "2", "-"]


def test_a_run_that_is_not_complete_counts_in_no_median() -> None:
    failed = run("cut", 2, 0.0, is_complete=False, tokens=0)
    assert not failed.is_good
    lines = (run(NONE, 1, 9.0), run(NONE, 2, 9.0), run("cut", 1, 10.0), failed)
    assert row(*lines)[2:6] == ["1 of 2", "0", "10.0", "+1.0"]
    assert row(run(NONE, 1, 0.0, is_complete=False), run("cut", 1, 10.0))[4:6] == ["10.0", "-"]


def test_the_table_has_a_line_for_each_cell_in_the_order_of_the_runs() -> None:
    runs = [run(NONE, 1, 1.0), run(NONE, 1, 1.0, RAFT), run("kill", 1, 1.0), run(NONE, 2, 1.0)]
    names = [line.split("|")[1:3] for line in grid.table(runs)[2:]]
    assert names == [[" none ", " lease "], [" none ", " raft "], [" kill ", " lease "]]
    assert {line.count("|") for line in grid.table(runs)} == {10}


def accepted(task: str, index: int, at: str, token: int = 1) -> dict[str, Any]:
    fact = {"type": "TaskAccepted", "task": task, "index": index, "at": at}
    return {**fact, "node": "a", "token": token, "digest": "d"}


def test_an_acceptance_that_two_nodes_tell_of_is_one() -> None:
    told = [accepted("t", 7, "a"), accepted("t", 7, "b"), accepted("u", 8, "a")]
    assert grid.doubled_in([*told, {"type": "TaskStarted", "task": "t"}]) == 0


@pytest.mark.parametrize("other", [accepted("t", 9, "b"), accepted("t", 7, "b", token=2)])
def test_two_acceptances_of_a_task_are_found(other: dict[str, Any]) -> None:
    assert grid.doubled_in([accepted("t", 7, "a"), accepted("u", 8, "a"), other]) == 1
    assert not run("kill", 1, 1.0, doubled=1).is_good


@pytest.mark.parametrize("name", HARMS)
def test_every_harm_is_one_that_processes_and_model_know(name: str) -> None:
    harm = HARMS[name]
    assert all(0.0 < Fault.parse(fault).at < 1.0 for fault in harm.faults)
    options = dict(zip(harm.model[::2], harm.model[1::2], strict=True))
    assert {option.removeprefix("--") for option in options} <= set(RATES)
    for share in options.values():
        assert 0.0 < float(share) < 1.0
    assert (name == NONE) == (not harm.faults and not harm.model)


def test_a_call_that_hangs_ends_with_its_tasks_time_which_follows_the_speed() -> None:
    slow, fast = (grid.job_of("mathutils_p05", Cell("hang", RAFT), speed) for speed in (1.0, 10.0))
    assert {task.timeout_s for task in slow.tasks} == {43.0}
    assert {task.timeout_s for task in fast.tasks} == {4.3}
    assert {task.attempts_max for task in fast.tasks} == {grid.ATTEMPTS}
    assert fast.claims is RAFT
    assert slow.id != fast.id, "two runs never meet in one log"


async def test_a_list_that_does_not_exist_is_no_failed_run() -> None:
    with pytest.raises(QuorateError, match="nonsense"):
        await grid.measure(Cell(NONE, LEASE), 1, "nonsense")


async def test_a_team_that_cannot_be_started_is_a_failed_run_with_its_reason() -> None:
    failed = await grid.measure(Cell(NONE, LEASE), 1, nodes=0)
    assert not failed.is_good
    assert "1 to 64 nodes" in str(failed)


async def test_real_processes_finish_a_job_though_calls_hang(tmp_path: Path) -> None:
    count, seed, speed = 12, 2, 20.0
    tasks = [{"id": f"q{number}", "prompt": limited.QUESTION} for number in range(count)]
    source = tmp_path / "questions.json"
    source.write_text(json.dumps({"job": "questions", "tasks": tasks}))
    knobs, key = ModelKnobs(seed=seed, hang=0.1), key_of((), limited.QUESTION)
    assert any(draw_faults(knobs, key, attempt).hang for attempt in range(count))
    found = await grid.measure(Cell("hang", LEASE), seed, str(source), nodes=3, speed=speed)
    assert found.is_good, found
    assert found.makespan_s > HARMS["hang"].timeout_s / speed, "somebody waited for a call"


# -- a model that serves so many calls a second ----------------------------------------------------


def calls(*seen: tuple[float, int]) -> list[dict[str, Any]]:
    return [{"at_s": at_s, "status": status} for at_s, status in seen]


def test_what_happens_in_the_first_second_does_not_count() -> None:
    pace = limited.pace_of(calls((5.0, 200), (5.1, 429), (6.5, 200), (7.0, 200)), rate=2.0)
    assert (pace.calls, pace.refused) == (4, 0.0)
    assert pace.used == 1.0, "two calls in one second, of which two are allowed"
    assert pace.is_good


def test_refused_calls_and_an_idle_endpoint_are_shares() -> None:
    pace = limited.pace_of(calls((0.0, 200), (1.5, 429), (2.0, 200), (3.0, 200)), rate=4.0)
    assert pace.refused == pytest.approx(1 / 3)
    assert pace.used == pytest.approx(2 / 8)
    assert not pace.is_good


def test_a_model_that_nobody_called_was_not_used() -> None:
    assert not limited.pace_of([], rate=10.0).is_good
    assert not limited.pace_of(calls((0.0, 200)), rate=10.0).is_good


def test_the_load_is_a_job_of_as_many_questions_as_calls() -> None:
    job = limited.job_of(limited.Load(calls=30))
    validate(job)
    assert len(job.tasks) == 30
    assert not any(task.needs for task in job.tasks)


async def test_calls_are_counted_at_the_model() -> None:
    load = limited.Load(nodes=1, rate=1_000.0, calls=12, speed=50.0)
    pace, is_complete = await limited.measure(load, is_told=True)
    assert is_complete
    assert pace.calls == 12


# -- collisions ------------------------------------------------------------------------------------


def test_collisions_are_a_share_of_the_claims() -> None:
    found = Collisions(90, 1).plus(Collisions(10, 0))
    assert found.share == 0.01
    assert found.is_good
    assert not Collisions(100, 2).is_good
    assert not Collisions().is_good, "nothing was claimed"


def test_one_node_claims_each_task_once_in_simulation() -> None:
    found = collisions.simulated(1, "p02", seeds=1)
    assert found.lost == 0
    assert found.claims == 9 * 20, "three suites with three models, and 20 tasks in each"
