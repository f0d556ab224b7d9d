"""A run beside its plan: what was to be expected is known before, and told after it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from ledger_hand import job, task

from node import lists
from node.lab.cluster import Cluster, ModelEntry, ModelOptions
from node.lab.expecting import expectation_of
from node.lab.planning import plan
from node.lab.prediction import Planned, comparison, planned_for
from protocol.jobs import Speculation, Task

WIDE = job(*(task(f"t{n}") for n in range(4)))


def test_a_run_is_compared_with_the_plan_of_its_size() -> None:
    found = lists.load("mathutils_p05")
    (_, team) = plan(found, expectation_of(found, "claude", 8.0, ()), (5,), 0.75, seed=9).sizes
    model = ModelOptions(speed=8.0, seed=9, model="claude", wrong=0.25)
    before = planned_for(found, 5, model)
    assert before is not None
    assert (before.makespan_s, before.low_s, before.high_s) == (
        team.makespan, team.low, team.high,
    )  # fmt: skip
    assert (before.tokens_in, before.tokens_out) == (team.tokens_in, team.tokens_out)
    assert before.source.startswith("latencies measured of claude (lognormal, ")
    assert before.source.endswith(" at 8 times its pace (simulated)")


def test_races_are_planned_for_as_the_job_asks_for_them() -> None:
    raced = replace(WIDE, speculation=Speculation(1, percentile=0))
    one, other = (planned_for(each, 8, ModelOptions()) for each in (WIDE, raced))
    assert one is not None
    assert other is not None
    assert other.tokens_in > one.tokens_in
    assert other.makespan_s < one.makespan_s


def test_nothing_is_planned_where_nothing_is_known() -> None:
    program = job(Task("p", "", agent="command", program="true"))
    assert planned_for(program, 3, ModelOptions()) is None
    assert planned_for(WIDE, 3, ModelOptions(wrong=1.0)) is None
    assert planned_for(WIDE, 3, None) is None, "nobody knows how quick the team's model is"
    real = planned_for(job(Task("r", "Why?", agent="openai")), 3, None)
    assert real is not None
    assert real.source.startswith("a guess: ")


PLANNED = Planned(10.0, 8.0, 14.0, 900, 100, "a stop-watch")


def test_what_lies_where_90_percent_should_needs_no_comment() -> None:
    assert list(comparison(PLANNED, 10.81, 1000)) == [
        "planned 10.0 s (8.0-14.0), took 10.8 s",
        "planned 1000 tokens, used 1000 (1.00 times as many)",
    ]


def test_what_lies_elsewhere_says_so_and_by_what_it_was_planned() -> None:
    late, tokens = comparison(PLANNED, 20.0, 1500)
    assert late.endswith("took 20.0 s: longer than 95 % of the draws by a stop-watch")
    assert tokens.endswith("used 1500 (1.50 times as many)")
    early, _ = comparison(PLANNED, 7.9, 1000)
    assert early.endswith("took 7.9 s: shorter than 95 % of the draws by a stop-watch")


def test_tokens_are_compared_with_what_is_between_90_percent_of_the_draws() -> None:
    ranged = replace(PLANNED, tokens_low=800, tokens_high=1100)
    for used, said in ((1100, ""), (1101, ": more than in 95 % of the draws"), (799, ": fewer")):
        _, tokens = comparison(ranged, 10.0, used)
        assert tokens.startswith(f"planned 1000 tokens (800-1100), used {used} (")
        assert f"times as many){said}" in tokens
        assert said or tokens.endswith(")")


def test_a_job_without_tokens_is_compared_by_time() -> None:
    assert len(list(comparison(Planned(1.0, 0.9, 1.1), 1.0, 0))) == 1


def test_how_the_team_s_model_behaves_is_known_to_who_comes_later(tmp_path: Path) -> None:
    cluster = Cluster.create(tmp_path / "team", 3)
    assert Cluster.load(tmp_path / "team").model == ModelEntry(), "none was started"
    options = ModelOptions(speed=20.0, seed=3, model="claude", wrong=0.2, extra=("--hang", "0.1"))
    cluster.model = ModelEntry("http://127.0.0.1:1/v1", 7, 8, options)
    cluster.save()
    assert Cluster.load(tmp_path / "team").model == cluster.model
    path = tmp_path / "team" / "cluster.json"
    content = json.loads(path.read_text())
    del content["model"]["options"]
    path.write_text(json.dumps(content))
    assert Cluster.load(tmp_path / "team").model.options is None, "of an earlier version"
