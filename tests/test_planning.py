"""Plans: exact where nothing is left to chance, and plain about who should do a job."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from ledger_hand import job, task

from node import lists
from node.agents.permits import Prices
from node.cli.plan_verb import _lines_of
from node.lab.expecting import BESIDE_S, Expectation, PlanError, expectation_of
from node.lab.forecasting import DRAWS, DRAWS_MIN, draws_of
from node.lab.outcome import measured_in
from node.lab.planning import SIZES, Plan, levels_of, plan, sizes_of
from node.lab.verdict import ABLE
from node.lab.watch import Progress, TaskProgress
from protocol.jobs import Compare, Job, Quorum, Task

DIAMOND = job(task("a"), task("b", "a"), task("c", "a", weight=2.0), task("d", "b", "c"))
CHAIN = job(task("t0"), *(task(f"t{n}", f"t{n - 1}") for n in range(1, 9)))
WIDE = job(*(task(f"t{n}") for n in range(16)))


def expecting(job: Job, tokens: tuple[float, float] = (100, 10)) -> Expectation:
    """Each task takes 3 s times its weight, always."""
    return Expectation(
        "a stop-watch",
        "s",
        lambda task, random: 3.0 * task.weight,
        {task.id: tokens for task in job.tasks},
    )


def planned(job: Job, sizes: Sequence[int] = SIZES, **options: Any) -> Plan:
    return plan(job, expecting(job), sizes, **options)


def advice(plan: Plan) -> list[str]:
    """The verdict and its reasons."""
    return [plan.verdict.sentence, *plan.verdict.reasons]


def makespans(plan: Plan) -> dict[int, float]:
    return {each.agents: each.makespan for each in plan.sizes}


# -- times -----------------------------------------------------------------------------------------


def test_constant_lengths_give_exact_numbers() -> None:
    found = planned(DIAMOND, (1, 2, 3))
    assert makespans(found) == {1: 15.0, 2: 12.0, 3: 12.0}
    assert all(each.low == each.makespan == each.high for each in found.sizes)
    assert [each.speed_up for each in found.sizes] == [1.0, 1.25, 1.25]
    assert [each.amdahl for each in found.sizes] == [1.0, 1.143, 1.2]
    assert [each.work_span for each in found.sizes] == [1.0, 1.333, 1.333]
    assert found.critical_path == ["a", "c", "d"], "by weight"
    assert found.levels == [["a"], ["b", "c"], ["d"]]
    assert found.draws == DRAWS


def test_one_agent_is_always_planned_for_comparison() -> None:
    assert list(makespans(planned(DIAMOND, (5,)))) == [1, 5]


def test_the_same_seed_draws_the_same_plan_and_another_another() -> None:
    found = lists.load("mathutils_p05")
    expectation = expectation_of(found, "gpt", 4.0, ())
    assert plan(found, expectation, seed=3) == plan(found, expectation, seed=3)
    assert plan(found, expectation, seed=3) != plan(found, expectation, seed=4)


def test_the_median_lies_in_the_interval_and_more_agents_are_no_slower() -> None:
    found = lists.load("salesdata_p09")
    for model in ("gpt", "claude", "gemini"):
        made = plan(found, expectation_of(found, model, 1.0, ())).sizes
        assert all(each.low < each.makespan < each.high for each in made)
        times = [each.makespan for each in made]
        assert times == sorted(times, reverse=True)
        assert times[0] > times[-1]


def test_attempts_that_fail_are_repeated() -> None:
    """Two of three fail: three attempts a task if there were no end, 2.6 with five at most."""
    found = planned(WIDE, (1,), success=1 / 3)
    expected = 3 * (1 - (2 / 3) ** 5)
    assert found.tokens_in == round(16 * 100 * expected)
    assert found.token_multiplier == pytest.approx(expected, abs=0.001)
    assert makespans(found)[1] == pytest.approx(16 * 3.0 * expected, rel=0.05)
    assert found.failing == pytest.approx(1 - (1 - (2 / 3) ** 5) ** 16, abs=0.001)


@pytest.mark.parametrize(
    ("quorum", "attempts_max", "success", "failing"),
    [
        (Quorum(1, 1), 2, 0.3, 0.7**2),
        (Quorum(3, 1), 1, 0.5, 0.5**3),
        (Quorum(3, 2), 2, 0.3, 0.7**7 + 7 * 0.3 * 0.7**6),
        (Quorum(3, 3), 1, 0.5, 0.5),
        (Quorum(3, 2, Compare.JUDGE), 1, 0.5, 0.5),
        (Quorum(16, 9), 100, 1.0, 0.0),
    ],
)
def test_a_task_fails_when_all_its_slots_attempts_did_before_enough_passed(
    quorum: Quorum, attempts_max: int, success: float, failing: float
) -> None:
    voted = replace(task("a", quorum=quorum), attempts_max=attempts_max)
    assert planned(job(voted), (1,), success=success).failing == pytest.approx(failing, abs=1e-4)


def test_the_share_of_failing_tasks_is_the_team_s_rule_played_through() -> None:
    random, quorum, runs = Random(7), Quorum(3, 2), 4_000
    failed = 0
    for _ in range(runs):
        passed = failures = 0
        while passed < quorum.agree and failures < 2 * quorum.of:
            is_good = random.random() < 0.3
            passed, failures = passed + is_good, failures + (not is_good)
        failed += passed < quorum.agree
    voted = replace(task("a", quorum=quorum), attempts_max=2)
    expected = planned(job(voted), (1,), success=0.3).failing
    assert failed / runs == pytest.approx(expected, abs=0.03)


def test_a_quorum_keeps_as_many_agents_busy_and_stops_those_it_does_not_need() -> None:
    lengths = iter([5.0, 1.0, 2.0] * DRAWS * 2)
    found = job(task("a", quorum=Quorum(3, 2)))
    expectation = replace(expecting(found), draw=lambda task, random: next(lengths))
    assert makespans(plan(found, expectation, (1, 3))) == {1: 6.0, 3: 2.0}
    judged = job(task("a", quorum=Quorum(3, 2, Compare.JUDGE)))
    assert makespans(plan(judged, expectation, (1, 3))) == {1: 8.0, 3: 5.0}
    assert plan(judged, expecting(judged), (1,)).tokens_in == 300


def test_the_number_of_draws_is_bounded_by_the_size_of_the_job() -> None:
    assert draws_of(WIDE, len(SIZES)) == DRAWS
    many = job(*(task(f"t{n}", quorum=Quorum(16, 9)) for n in range(10_000)))
    assert draws_of(many, len(SIZES)) == DRAWS_MIN


def test_what_is_first_is_on_the_first_level() -> None:
    assert levels_of({"d": ["b", "c"], "b": ["a"], "c": [], "a": []}) == [["c", "a"], ["b"], ["d"]]
    assert levels_of({}) == []


# -- advice ----------------------------------------------------------------------------------------


def test_nothing_is_said_of_a_team_that_nobody_asked_about() -> None:
    assert advice(planned(WIDE, (1,))) == [
        "",
        "Each task is done once: a team of any size uses the tokens of one agent.",
    ]


def test_a_wide_list_is_work_for_a_team() -> None:
    found = planned(WIDE)
    assert found.verdict.agents == 16
    assert advice(found)[0] == (
        "16 agents are sensible: 16.0 times as fast as one (3.0 s instead of 48.0 s)."
    )


def test_nearly_the_best_with_fewer_agents_is_sensible() -> None:
    found = planned(job(*(task(f"t{n}") for n in range(21)), task("long", weight=4.0)))
    assert makespans(found)[5] == 15.0
    assert makespans(found)[8] == 12.0
    assert found.verdict.agents == 8
    assert advice(found)[0].endswith("(12.0 s instead of 75.0 s).")
    fewer = planned(job(*(task(f"t{n}") for n in range(41)), task("long", weight=10.0)))
    assert fewer.verdict.agents == 5
    assert advice(fewer)[0].endswith("; 8 would be 5.1 times as fast.")


def test_who_is_right_alone_gains_time_only() -> None:
    assert (
        "do not make the result better (arXiv 2512.08296), only earlier"
        in (advice(planned(WIDE, success=ABLE + 0.01))[-1])
    )
    assert "can also make the result better" in advice(planned(WIDE, success=ABLE))[-1]
    assert not any("right in" in line for line in advice(planned(WIDE)))


def test_a_team_uses_the_tokens_of_one_agent() -> None:
    assert advice(planned(WIDE))[-1].startswith("Each task is done once")
    twice = job(task("a", quorum=Quorum(2, 2)), task("b", quorum=Quorum(2, 2)))
    found = planned(twice)
    assert (found.tokens_in, found.tokens_out, found.token_multiplier) == (400, 40, 2.0)
    assert "2.0 times the tokens of one agent that answers each task once" in advice(found)[-1]


def test_money_is_told_where_a_price_is_known() -> None:
    assert planned(WIDE).usd is None
    # 1,600 tokens read at 0.15 dollars a million, 160 written at 0.60
    assert planned(WIDE, prices=Prices(150_000, 600_000)).usd == pytest.approx(0.000336)


def test_what_is_printed_says_it_all() -> None:
    found = planned(DIAMOND, (1, 2), success=0.6)
    text = "\n".join(_lines_of(found))
    for words in (
        "job: 4 tasks in 3 levels",
        "   2  b, c",
        "critical path (3 tasks): a > c > d",
        "by a stop-watch; 400 draws",
        "60 % of the attempts pass, as was said",
        "tokens of one agent: ",
        "the job fails",
        *advice(found),
    ):
        assert words in text
    assert all(len(line) < 200 for line in text.splitlines())


def test_many_names_are_cut_and_counted() -> None:
    text = "\n".join(_lines_of(planned(job(*(task(f"task_{n}") for n in range(100))), (1,))))
    assert "... (89 more)" in text


# -- what is expected ------------------------------------------------------------------------------


def test_the_speed_is_the_simulated_model_s_and_weights_are_not() -> None:
    simulated, real = task("a", weight=2.0), replace(task("b", weight=2.0), agent="openai")
    draws = [expectation_of(job(simulated, real), "gpt", speed, ()).draw for speed in (1.0, 10.0)]
    slow, fast = (draw(simulated, Random(1)) - BESIDE_S for draw in draws)
    assert slow == pytest.approx(10 * fast)
    slow, fast = (draw(real, Random(1)) - BESIDE_S for draw in draws)
    assert slow == fast
    assert slow == pytest.approx(2.0 * (draws[0](simulated, Random(1)) - BESIDE_S))


def test_programs_are_planned_by_their_weights() -> None:
    weights = {"a": 1.0, "b": 4.0, "c": 4.0, "d": 4.0}
    programs = [
        Task(name, "", agent="command", program="true", weight=weight)
        for name, weight in weights.items()
    ]
    found = plan(job(*programs), expectation_of(job(*programs), "gpt", 1.0, ()))
    assert found.unit == ""
    assert makespans(found)[4] == 4.0
    assert found.source.startswith("a guess: weights alone")
    assert "(4.0 instead of 13.0)" in found.verdict.sentence
    assert "tokens" not in "\n".join(_lines_of(found)), "none are used"


def history(folder: Path, content: object) -> Path:
    path = folder / f"{len(list(folder.iterdir()))}.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def row(took_s: float) -> dict[str, float]:
    return {"took_s": took_s, "tokens_in": 1000, "tokens_out": 100}


def test_a_former_run_tells_how_long_its_tasks_take(tmp_path: Path) -> None:
    measured = {"a": row(1.0), "b": row(2.0), "c": row(8.0), "d": row(1.0), "gone": row(99.0)}
    for content in ({"measured": measured}, {"run": {"measured": measured}}):
        expectation = expectation_of(DIAMOND, "gpt", 4.0, [history(tmp_path, content)])
        found = plan(DIAMOND, expectation, (1, 2))
        assert makespans(found) == {1: 12.0, 2: 10.0}
        assert (found.tokens_in, found.tokens_out) == (4000, 400)


def test_several_former_runs_tell_how_much_it_varies(tmp_path: Path) -> None:
    single = job(task("a"))
    paths = [history(tmp_path, {"measured": {"a": row(took)}}) for took in (1.0, 3.0)]
    (found,) = plan(single, expectation_of(single, "gpt", 1.0, paths), (1,)).sizes
    assert (found.low, found.high) == (1.0, 3.0)


def test_a_task_that_is_new_takes_as_long_as_others_of_its_weight(tmp_path: Path) -> None:
    path = history(tmp_path, {"measured": {"a": row(5.0)}})
    pair = job(task("a", weight=2.0), task("new", weight=4.0))
    assert makespans(plan(pair, expectation_of(pair, "gpt", 1.0, [path]), (1,)))[1] == 15.0


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("nonsense", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ([], "does not say how long tasks took"),
        ({"run": None}, "does not say how long tasks took"),
        ({"files": {}}, "does not say how long tasks took"),
        ({"measured": {}}, "does not say how long tasks took"),
        ({"measured": {"a": 1}}, "task 'a': took_s"),
        ({"measured": {"a": row(0)}}, "task 'a': took_s"),
        ({"measured": {"a": row(-1)}}, "task 'a': took_s"),
        ({"measured": {"a": row(float("nan"))}}, "task 'a': took_s"),
        ({"measured": {"a": row(float("inf"))}}, "task 'a': took_s"),
        ({"measured": {"a": {**row(1), "tokens_in": "many"}}}, "task 'a': took_s"),
        ({"measured": {"a": {**row(1), "tokens_in": True}}}, "task 'a': took_s"),
        ({"measured": {"other": row(1)}}, "has no task of job"),
    ],
)
def test_a_history_that_is_none_is_refused_in_one_line(
    content: object, fault: str, tmp_path: Path
) -> None:
    path = history(tmp_path, content)
    with pytest.raises(PlanError) as caught:
        expectation_of(DIAMOND, "gpt", 1.0, [path])
    assert fault in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_former_runs_tell_how_often_an_attempt_passes(tmp_path: Path) -> None:
    measured = {"a": row(1.0), "b": row(2.0), "c": row(8.0)}
    told = history(tmp_path, {"run": {"measured": measured, "failed_attempts": 1}})
    found = plan(DIAMOND, expectation_of(DIAMOND, "gpt", 4.0, [told]), (1,))
    assert found.success == 0.75
    assert found.success_source == "75 % of the attempts pass, as in the former runs"
    better = plan(DIAMOND, expectation_of(DIAMOND, "gpt", 4.0, [told]), (1,), success=0.9)
    assert (better.success, better.success_source[:4]) == (0.9, "90 %"), "whoever is there says it"
    silent = history(tmp_path, {"measured": measured})
    found = plan(DIAMOND, expectation_of(DIAMOND, "gpt", 4.0, [told, silent]), (1,))
    assert found.success is None, "one run does not tell"
    assert found.success_source.startswith("all attempts are taken to pass, for nobody has said")


def test_a_task_that_always_failed_is_not_excused_by_the_others(tmp_path: Path) -> None:
    """Pooled over all, the same five failures would make a job fail in a few cases of a hundred."""
    content = {
        "measured": {f"t{n}": row(1.0) for n in range(15)},
        "failed_attempts": 5,
        "failed_by_task": {"t15": 5},
    }
    told = [history(tmp_path, content)]
    found = plan(WIDE, expectation_of(WIDE, "gpt", 4.0, told), (1,))
    assert found.success == 0.75
    assert found.failing == 1.0
    text = "\n".join(_lines_of(found))
    assert (
        "\n75 % of the attempts pass, as in the former runs: of t15 0 %, by 3 attempts of their "
        "own or more; of the others 100 % together\n"
    ) in text
    assert "\nin 100.0 % of the cases a task uses up its attempts, and the job fails\n" in text
    said = plan(WIDE, expectation_of(WIDE, "gpt", 4.0, told), (1,), success=1.0)
    assert said.failing == 0.0, "whoever is there says it"


def test_of_few_attempts_the_share_of_all_is_gone_by(tmp_path: Path) -> None:
    content = {
        "measured": {f"t{n}": row(1.0) for n in range(16)},
        "failed_attempts": 2,
        "failed_by_task": {"t0": 1, "t1": 1},
    }
    pooled = history(tmp_path, {**content, "failed_by_task": None})
    few, of_all = (
        plan(WIDE, expectation_of(WIDE, "gpt", 4.0, [path]), (1,))
        for path in (history(tmp_path, content), pooled)
    )
    assert (few.failing, few.sizes) == (of_all.failing, of_all.sizes)
    assert few.success_source == "89 % of the attempts pass, as in the former runs"


@pytest.mark.parametrize("by_task", [[], 3, {"a": -1}, {"a": True}, {"a": 0.5}])
def test_failures_by_task_that_are_no_numbers_are_refused(by_task: object, tmp_path: Path) -> None:
    path = history(tmp_path, {"measured": {"a": row(1.0)}, "failed_by_task": by_task})
    with pytest.raises(PlanError, match="failed_by_task must have a whole number from 0"):
        expectation_of(DIAMOND, "gpt", 1.0, [path])


def test_the_critical_path_is_by_what_tasks_took_where_that_is_known(tmp_path: Path) -> None:
    """By its weight it is c that matters, and it was b that took long."""
    path = history(tmp_path, {"measured": {"a": row(1.0), "b": row(9.0), "c": row(2.0)}})
    text = "\n".join(_lines_of(plan(DIAMOND, expectation_of(DIAMOND, "gpt", 4.0, [path]), (1,))))
    assert "\ncritical path (3 tasks, by what the tasks took): a > b > d\n" in text
    assert "\ncritical path (3 tasks): a > c > d\n" in "\n".join(_lines_of(planned(DIAMOND)))


@pytest.mark.parametrize("failed", [-1, 1.5, "two", True, 10**13])
def test_a_history_whose_failures_are_no_number_is_refused(failed: object, tmp_path: Path) -> None:
    path = history(tmp_path, {"measured": {"a": row(1.0)}, "failed_attempts": failed})
    with pytest.raises(PlanError, match="failed_attempts must be a whole number from 0"):
        expectation_of(DIAMOND, "gpt", 1.0, [path])


def test_another_model_than_the_simulated_one_is_planned_by_a_guess_that_says_so() -> None:
    real = job(replace(task("a"), agent="openai"))
    source = expectation_of(real, "claude", 1.0, ()).source
    assert source.startswith("a guess: your model is as quick as latencies measured of claude")
    assert "guess" not in expectation_of(WIDE, "claude", 1.0, ()).source


def test_a_history_that_is_not_there_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.json", tmp_path):
        with pytest.raises(PlanError, match="cannot be read"):
            expectation_of(DIAMOND, "gpt", 1.0, [path])
    with pytest.raises(PlanError, match="21 histories, the limit is 20"):
        expectation_of(DIAMOND, "gpt", 1.0, [tmp_path] * 21)


@pytest.mark.parametrize("success", [0.0, -0.1, 1.1, float("nan")])
def test_a_success_that_is_no_share_is_refused(success: float) -> None:
    with pytest.raises(PlanError, match="is a share of attempts"):
        planned(WIDE, success=success)


@pytest.mark.parametrize(
    ("text", "sizes"),
    [("", SIZES), ("5", (5,)), ("1-4", (1, 2, 3, 4)), (" 8, 2-3 ,2", (2, 3, 8)), ("64", (64,))],
)
def test_sizes_are_numbers_and_ranges(text: str, sizes: tuple[int, ...]) -> None:
    assert sizes_of(text) == sizes


@pytest.mark.parametrize(
    "text", ["0", "65", "1-65", "3-2", "two", "1,,2", "-3", "1-2-3", "1e1", "٣"]
)
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(PlanError, match="write numbers or ranges from 1 to 64"):
        sizes_of(text)


# -- what a run leaves for the next plan -----------------------------------------------------------


def test_an_attempt_is_measured_from_its_start_to_its_acceptance() -> None:
    """Whoever was accepted: not the one that began first, and nothing of what was not seen."""
    started = {"type": "TaskStarted", "job": "job", "task": "a"}
    progress = Progress(
        "job",
        {name: TaskProgress(name, accepted_at=14.5) for name in "abc"},
        facts=[
            {**started, "at": "ada", "token": 1, "ts": 10.0},
            {**started, "at": "bob", "token": 2, "ts": 12.0},
            {**started, "at": "bob", "token": 2, "ts": 1.0, "job": "other"},
            {"type": "JobFinished", "job": "job", "ts": 20.0},
        ],
    )
    answer = {"node": "bob", "token": 2, "tokens_in": 7, "tokens_out": 8}
    view = {
        "tasks": [
            {"id": "a", "accepted": answer},
            {"id": "b", "accepted": answer},
            {"id": "c", "accepted": None},
        ]
    }
    assert measured_in(progress, view) == {"a": {"took_s": 2.5, "tokens_in": 7, "tokens_out": 8}}
