"""The verdict on a team: gain, cost and success weighed together, and told in plain words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ledger_hand import job, task

from node.lab.expecting import Expectation
from node.lab.forecasting import Forecast
from node.lab.planning import SIZES, Plan, plan
from node.lab.verdict import ABLE, GAIN_MIN, Verdict, hurdle, verdict_of
from protocol.jobs import Job, Quorum, VerifyBy

CHAIN = job(task("t0"), *(task(f"t{n}", f"t{n - 1}") for n in range(1, 9)))
WIDE = job(*(task(f"t{n}") for n in range(16)))
SINGLE = job(task("a"))


def forecast(agents: int, gain: float = 1.0, cost: float = 1.0, **said: Any) -> Forecast:
    """A team that is so many times as fast as one agent, which needs 60 s."""
    time = 60.0 / gain
    known: dict[str, Any] = {
        "busy": 64,
        "races": 0.0,
        "tokens_in": 0,
        "tokens_out": 0,
        "tokens_low": 1,
    }
    known["tokens_high"] = 1
    return Forecast(
        agents, 1.0, 1.0, time, time, time, gain, gain, cost, usd=None, **{**known, **said}
    )


def judged(
    *teams: tuple[int, float, float], success: float | None = None, job: Job = WIDE
) -> Verdict:
    """Teams as (agents, gain, cost)."""
    return verdict_of(job, [forecast(1), *(forecast(*team) for team in teams)], "s", success)


def planned(job: Job, **options: Any) -> Plan:
    """Each task takes 3 s and 110 tokens, always."""
    tokens = dict.fromkeys(job.needs, (100.0, 10.0))
    steady = Expectation("a stop-watch", "s", lambda task, random: 3.0, tokens)
    return plan(job, steady, **options)


# -- the weighing ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gain", "cost", "success", "agents"),
    [
        (1.2, 1.0, None, 1),  # too little for its coordination
        (1.3, 1.0, None, 4),
        (1.3, 1.0, 0.9, 4),
        (2.0, 1.6, None, 1),  # it costs more than it gains, and nobody says that it finds more
        (2.0, 1.6, 0.46, 1),
        (2.0, 1.6, 0.45, 4),  # who is seldom right may be helped by others
        (2.0, 1.5, 0.9, 4),
        (1.2, 1.0, 0.2, 1),
    ],
)
def test_gain_cost_and_success_are_weighed_together(
    gain: float, cost: float, success: float | None, agents: int
) -> None:
    assert judged((4, gain, cost), success=success).agents == agents


def test_a_team_that_costs_more_must_gain_more() -> None:
    dear = forecast(4, 2.0, 3.0)
    assert hurdle(dear, None) == hurdle(dear, ABLE + 0.01) == pytest.approx(3 * GAIN_MIN)
    assert hurdle(dear, ABLE) == GAIN_MIN


def test_the_largest_team_may_be_too_dear_where_a_smaller_one_is_not() -> None:
    verdict = judged((2, 1.8, 1.0), (8, 3.0, 4.0))
    assert verdict.agents == 2
    assert "8 would be 3.0 times as fast" in verdict.sentence


def test_a_quorum_that_may_find_more_is_worth_its_cost_without_any_gain_of_time() -> None:
    voted = job(task("a", quorum=Quorum(3, 2)))
    verdict = judged((3, 0.9, 3.0), success=0.3, job=voted)
    assert verdict.agents == 3
    assert "for what they find, not for their time" in verdict.sentence
    assert verdict.reasons[-1].endswith("(arXiv 2512.08296): as this job asks.")
    assert judged((3, 0.9, 3.0), success=0.3, job=SINGLE).agents == 1
    assert judged((3, 0.9, 3.0), success=0.6, job=voted).agents == 1
    reviewed = job(replace(task("a"), verify="true", verify_by=VerifyBy.OTHER))
    assert judged((3, 0.9, 1.0), success=0.3, job=reviewed).agents == 3


# -- the words -------------------------------------------------------------------------------------


def test_of_a_chain_one_agent_is_better() -> None:
    verdict = planned(CHAIN).verdict
    assert verdict.agents == 1
    assert verdict.sentence.startswith("One agent is better: ")
    assert f"1.00 times as fast, and under {GAIN_MIN}" in verdict.sentence
    assert verdict.reasons[0] == (
        "Each of the 9 tasks waits for the one before: nothing can be shared out."
    )


def test_of_one_task_nothing_can_be_shared_out() -> None:
    verdict = planned(SINGLE).verdict
    assert verdict.agents == 1
    assert verdict.reasons[0] == "There is one task: nothing can be shared out."
    assert "Never more than 1 have something to do at once: of 32 agents, 31" in verdict.reasons[1]


def test_a_long_chain_says_how_fast_a_team_could_be_at_most() -> None:
    most = job(*CHAIN.tasks, task("free"))
    assert planned(most).verdict.reasons[0].startswith("9 of the 10 tasks wait for each other")


def test_what_costs_too_much_is_told_with_its_cost() -> None:
    voted = job(*(task(f"t{n}", quorum=Quorum(3, 2)) for n in range(2)))
    verdict = planned(voted, success=0.9).verdict
    assert verdict.sentence == (
        "One agent is better: 8 would be 2.00 times as fast for 2.8 times the cost, and under "
        "3.6 times as fast that is not worth it."
    )
    assert verdict.reasons[-3:-1] == [
        "For its quorums the job takes 2.0 times the tokens of one agent that answers each task "
        "once.",
        "32 agents begin answers that are not needed any more when they come, for 2.8 times the "
        "tokens.",
    ]


def test_agents_that_would_be_idle_are_counted() -> None:
    reasons = planned(WIDE).verdict.reasons
    assert reasons[0] == (
        "Never more than 16 have something to do at once: of 32 agents, 16 would be idle from "
        "beginning to end."
    )
    assert not any("idle" in line for line in planned(WIDE, sizes=(2, 16)).verdict.reasons)


def test_a_plan_has_a_row_for_each_size_with_tokens_and_money() -> None:
    found = planned(WIDE)
    assert [each.agents for each in found.sizes] == list(SIZES)
    assert {(each.tokens_in, each.tokens_out, each.tokens_high) for each in found.sizes} == {
        (1600, 160, 1760)
    }
