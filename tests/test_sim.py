"""The simulator: its determinism, what seeds draw, and the seeds that every change must hold."""

from __future__ import annotations

from dataclasses import fields, replace
from random import Random

import pytest

from protocol.jobs import validate
from protocol.sim.faults import KINDS
from protocol.sim.plan import draw
from protocol.sim.scenario import Verdict, simulate
from protocol.sim.workload import random_job

SEEDS = 200
CHUNKS = 10

# -- seeds --------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_two_hundred_seeds_hold(chunk: int) -> None:
    for seed in range(chunk, SEEDS, CHUNKS):
        outcome = simulate(seed)
        assert outcome.verdict is Verdict.HELD, outcome.summary()


def test_the_same_seed_gives_the_same_trace() -> None:
    one, other = simulate(4), simulate(4)
    assert one == other
    assert one.trace_digest != simulate(5).trace_digest


@pytest.mark.parametrize("nodes", [1, 2, 3])
def test_the_number_of_nodes_can_be_chosen(nodes: int) -> None:
    outcome = simulate(11, nodes)
    assert outcome.plan.nodes == nodes
    assert outcome.verdict is Verdict.HELD, outcome.summary()


def test_every_kind_of_fault_is_absent_in_some_seeds_and_harsh_in_a_few() -> None:
    drawn = [draw(seed) for seed in range(300)]
    for kind in KINDS:
        amounts = [sum(isinstance(fault, kind) for fault in plan.faults) for plan in drawn]
        assert amounts.count(0) > 60, f"{kind.__name__} is nearly always there"
        assert max(amounts) > 0, f"{kind.__name__} is never there"
    assert any(not plan.faults for plan in drawn)


def test_every_option_is_drawn_more_than_one_way() -> None:
    drawn = [draw(seed) for seed in range(300)]
    for part in ("knobs", "links", "clocks", "work"):
        for option in fields(getattr(drawn[0], part)):
            values = {getattr(getattr(plan, part), option.name) for plan in drawn}
            assert len(values) > 1 or option.name == "delay_min_ns", option.name
    for name in ("nodes", "end_ns", "disk_ns", "rest"):
        assert len({getattr(plan, name) for plan in drawn}) > 2


def test_a_drawn_job_can_be_run() -> None:
    for seed in range(50):
        validate(random_job(Random(seed), draw(seed).work))


def test_a_verdict_is_an_exit_code() -> None:
    assert {verdict.name: verdict.value for verdict in Verdict} == {
        "HELD": 0,
        "CRASH": 3,
        "NO_CONVERGENCE": 4,
        "INVARIANT_BROKEN": 5,
    }


def test_a_failed_seed_says_how_to_repeat_it() -> None:
    good = simulate(2, 1)
    assert "\n" not in good.summary()
    bad = replace(good, verdict=Verdict.CRASH, detail="what happened")
    assert "what happened" in bad.summary()
    assert "quorate sim --seed 2 --nodes 1 --trace" in bad.summary()
    assert str(bad.plan) in bad.summary()
