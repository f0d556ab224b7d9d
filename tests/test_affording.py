"""A plan beside the budget of its job: what does not suffice is said before the run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import quorate_here
from ledger_hand import job, task

from node.agents.chat import ANSWER_MIN
from node.agents.permits import Prices
from node.cli.plan_verb import _lines_of
from node.lab.expecting import expectation_of
from node.lab.planning import plan
from node.model.latency import READ_MAX
from protocol.jobs import Budget, Job

QUESTIONS = job(*(task(f"t{n}") for n in range(3)))
REAL = job(*(replace(task(f"t{n}"), agent="openai") for n in range(3)))


def said(found: Job, budget: Budget, prices: Prices | None = None) -> list[str]:
    """What is printed of the budget."""
    limited = replace(found, budget=budget)
    made = plan(limited, expectation_of(limited, "gpt", 1.0, ()), (1, 3), prices=prices)
    lines = list(_lines_of(made))
    assert all(each in lines for each in made.shortages)
    return list(made.shortages)


def tokens_of(found: Job) -> int:
    alone = plan(found, expectation_of(found, "gpt", 1.0, ()), (1,)).sizes[0]
    return alone.tokens_in + alone.tokens_out


def test_a_budget_below_one_call_is_told_with_what_the_call_reserves() -> None:
    least = READ_MAX + ANSWER_MIN
    assert said(QUESTIONS, Budget(tokens=1000)) == [
        f"the budget of 1000 tokens is too small for a call that may use {least} tokens: none can "
        "be made"
    ]


def test_a_budget_below_the_plan_is_told_and_so_is_the_room_for_the_last_call() -> None:
    needed = tokens_of(QUESTIONS)
    last = READ_MAX + ANSWER_MIN - needed // 3
    found = said(QUESTIONS, Budget(tokens=needed + last - 1))
    assert found == [
        f"the budget of {needed + last - 1} tokens is too small: a team of 3 needs {needed}, and "
        f"{last} more are reserved before the last call"
    ]
    assert said(QUESTIONS, Budget(tokens=needed + last)) == []
    assert said(QUESTIONS, Budget()) == []


def test_money_is_compared_where_a_price_is_known() -> None:
    prices = Prices(1_000_000_000, 1_000_000_000)  # a dollar for a thousand tokens
    (line,) = said(REAL, Budget(usd=10.0), prices)
    assert line.startswith("the budget of 10 USD is too small: a team of 3 needs ")
    assert line.endswith(" USD (estimated)")
    (line,) = said(REAL, Budget(usd=0.5), prices)
    assert "too small for a call that may use" in line
    assert said(REAL, Budget(usd=100.0), prices) == []


def test_money_without_a_price_is_refused_as_a_run_refuses_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_MODEL", "my-own")
    (line,) = said(REAL, Budget(usd=5.0))
    assert line.startswith("the budget of 5 USD cannot be kept, and 'run' refuses it: nobody knows")
    assert "my-own" in line
    monkeypatch.delenv("OPENAI_MODEL")
    assert said(REAL, Budget(usd=5.0))[0].endswith("no model is chosen: set OPENAI_MODEL")
    assert said(QUESTIONS, Budget(usd=5.0)) == [
        "budget.usd has no effect: simulated and local agents cost no money"
    ]


def test_time_is_compared_where_seconds_are_known() -> None:
    (line,) = said(QUESTIONS, Budget(wall_s=0.1))
    assert line.startswith("the budget of 0.1 s is too small: a team of 3 needs ")
    assert said(QUESTIONS, Budget(wall_s=600.0)) == []


def test_who_plans_a_job_file_reads_it_there(tmp_path: Path) -> None:
    (tmp_path / "poor.yaml").write_text(
        "job: poor\nbudget: {tokens: 1000}\ntasks:\n"
        + "".join(f"  - {{id: q{n}, prompt: 'What is {n} and {n}?'}}\n" for n in range(3))
    )
    done = quorate_here("plan", "poor.yaml", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "\nthe budget of 1000 tokens is too small for a call" in done.stdout
    done = quorate_here("plan", "poor.yaml", "--json", folder=tmp_path)
    assert len(json.loads(done.stdout)["shortages"]) == 1
