"""What jobs have cost: counted where it is used, shown by node, task and model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from foreign_server import FENCED, MODEL, Bench, Foreign, foreign_servers, streamed, unpriced
from ledger_hand import job, task
from small_world import SmallWorld, done

from node.agents.prices import PRICES_VARIABLE
from node.cli import app
from node.cli.cost_verb import grouped, summed
from node.cli.costs import cost_lines, money_text
from node.doors.views import job_view
from protocol.clocks import SECOND, Nanoseconds
from protocol.effects import Assignment
from protocol.events import AgentFailed, Completed, Failure
from protocol.jobs import SEVERAL_MODELS, Usage

foreign = pytest.fixture(foreign_servers, name="foreign")

GPT = Usage(1, 100, 10, microusd=50, model="gpt")
MINE = Usage(1, 20, 2, unpriced=22, model="mine")


# -- where it is used ------------------------------------------------------------------------------


def test_a_sum_keeps_apart_what_nobody_knows_the_price_of() -> None:
    assert Usage().plus(GPT) == GPT == GPT.plus(Usage())
    assert GPT.plus(GPT) == Usage(2, 200, 20, microusd=100, model="gpt")
    assert GPT.plus(MINE) == Usage(2, 120, 12, False, 50, 22, SEVERAL_MODELS)


async def test_what_a_call_costs_is_known_without_a_budget(
    foreign: Foreign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PRICES_VARIABLE, f"{MODEL}=0.15/0.60")
    bench = Bench(tmp_path, foreign(streamed(FENCED)).url)
    await bench.run()
    microusd = 14  # 40 * 0.15 + 12 * 0.60 = 13.2, and a bill is rounded up
    assert bench.progress.usage == Usage(1, 40, 12, microusd=microusd, model=MODEL)


async def test_what_nobody_knows_the_price_of_is_not_free(
    foreign: Foreign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PRICES_VARIABLE, "another=0.15/0.60")
    bench = Bench(tmp_path, foreign(streamed(FENCED)).url)
    await bench.run()
    assert bench.progress.usage == unpriced(1, 40, 12)


# -- what a node shows -----------------------------------------------------------------------------


def test_every_node_tells_what_a_job_has_cost_by_task_node_and_model() -> None:
    """Also what was used in vain."""
    failed = []

    def agents(assignment: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
        if assignment.task.id == "b" and not failed:
            failed.append(assignment)
            return SECOND, AgentFailed(0, Failure.OUTPUT, "no file", (), MINE)
        return done(assignment, SECOND, GPT)

    world = SmallWorld(2, agents)
    world.do(job(task("a"), task("b", "a")))
    world.run(SECOND)
    for host in world.hosts:
        assert host.peer is not None
        view = job_view(host.peer, host.peer.ledger.jobs["job"], world.world.now)
        said = [(row["task"], row["model"], row["usd"]) for row in view["costs"]]
        assert said == [("a", "gpt", 0.00005), ("b", "gpt", 0.00005), ("b", "mine", 0.0)]
        assert view["spent"]["usd"] == 0.0001
        assert view["spent"]["unpriced_tokens"] == 22
        assert sum(row["tokens_in"] for row in view["costs"]) == view["spent"]["tokens_in"]


# -- in words --------------------------------------------------------------------------------------


def usage(tokens: int, usd: float = 0.0, unpriced: int = 0, simulated: bool = False) -> Any:
    said = {"calls": 1, "tokens_in": tokens, "tokens_out": 0, "simulated": simulated}
    return {**said, "usd": usd, "usd_is": "estimated", "unpriced_tokens": unpriced}


@pytest.mark.parametrize(
    ("used", "words"),
    [
        (usage(0), ""),
        (usage(100, simulated=True), ""),
        (usage(100, 0.018), "0.018 USD (estimated)"),
        (usage(100, 0.000001), "0.000001 USD (estimated)"),
        (usage(100, 12.3456), "12.35 USD (estimated)"),
        (usage(100), "0 USD (estimated)"),  # somebody said that it is free
        (
            usage(100, 0.0, 100),
            "not known, for nobody knows the price of 100 tokens (say it with QUORATE_PRICES)",
        ),
        (
            usage(100, 0.5, 40),
            "0.5 USD (estimated), and 40 tokens whose price nobody knows "
            "(say it with QUORATE_PRICES)",
        ),
    ],
)
def test_money_is_told_as_far_as_it_is_known(used: Any, words: str) -> None:
    assert money_text(used) == words


def test_a_budget_is_told_with_what_was_charged_beyond_it() -> None:
    budget = {"tokens": 100, "usd": 0.5, "spent_tokens": 120, "spent_usd": 0.25, "nodes": {}}
    over = {"overrun_tokens": 20, "overrun_usd": 0.0}
    (line,) = cost_lines(usage(0), budget | over)
    assert line == (
        "budget: 120 of 100 tokens and 0.25 of 0.5 USD (estimated) spent, OVERRUN by 20 "
        "tokens: an endpoint charged more than was reserved"
    )
    (line,) = cost_lines(usage(0), {**budget, "usd": 0, "overrun_tokens": 0})
    assert line == "budget: 120 of 100 tokens spent"
    assert list(cost_lines(usage(0), {"tokens": 0, "usd": 0.0, "wall_s": 5.0})) == []


ROWS = [
    {"task": "a", "node": "n1", "model": "gpt", **usage(100, 0.1)},
    {"task": "b", "node": "n1", "model": "gpt", **usage(50, 0.2)},
    {"task": "b", "node": "n2", "model": "mine", **usage(70, 0.0, 70)},
]


def test_rows_are_summed_by_what_they_have_in_common_the_dearest_first() -> None:
    assert summed(ROWS)["usd"] == 0.3
    assert [(row["node"], row["usd"]) for row in grouped(ROWS, "node")] == [("n1", 0.3), ("n2", 0)]
    assert [row["task"] for row in grouped(ROWS, "task")] == ["b", "a"]
    assert grouped(ROWS, "model")[1]["unpriced_tokens"] == 70


class Told:
    """Doors of a team that has done a job twice."""

    async def get(self, path: str) -> Any:
        if path == "/v1/jobs":
            return [{"id": "i", "files": 1}, {"id": "j", "files": 1}]
        name = path.rpartition("/")[2]
        return {"id": name, "budget": {"tokens": 0, "usd": 0.0}, "costs": ROWS}


def test_the_latest_job_is_told_by_node_task_and_model(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("node.cli.cost_verb.doors_of", lambda *_: Told())
    app(["cost"], standalone_mode=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "j: 3 calls, 220 tokens in, 0 out"
    assert lines[1].startswith("money: 0.3 USD (estimated), and 70 tokens whose price nobody knows")
    assert [line for line in lines if line.startswith("by ")] == [
        "by node:",
        "by task:",
        "by model:",
    ]
    said = [" ".join(line.split()) for line in lines]
    assert "n1 2 calls, 150 tokens in, 0 out; 0.3 USD (estimated)" in said


def test_all_jobs_are_told_together(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("node.cli.cost_verb.doors_of", lambda *_: Told())
    app(["cost", "--all", "--json"], standalone_mode=False)
    said = json.loads(capsys.readouterr().out)
    assert said["total"]["usd"] == 0.6
    assert {row["job"]: row["usd"] for row in said["by_job"]} == {"i": 0.3, "j": 0.3}
