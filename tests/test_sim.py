"""The simulator: its determinism, what seeds draw, and the seeds that every change must hold."""

from __future__ import annotations

import os
import subprocess
from dataclasses import fields, replace
from pathlib import Path
from random import Random

import pytest

from protocol.clocks import SECOND
from protocol.job_rules import validate
from protocol.sim.faults import KINDS
from protocol.sim.network import LinkConditions
from protocol.sim.plan import PLAIN_PARTS, draw, plan_of
from protocol.sim.scenario import Verdict, simulate
from protocol.sim.settled import settled_world
from protocol.sim.workload import random_job

FIXED_SEEDS = 8
DRAWN_SEEDS = 20  # other ones for each commit
CHUNKS = 6
FAILED_ONCE = [
    171919628,  # the only address that a newcomer was given was that of a node gone for good
    *(887, 2414, 5416, 6431, 9967),  # an impaired voter that was dropped waited for its leader
    59654947,  # acknowledged, and replaced by the next term's leader, in one transaction
    *(1898, 8204),  # the voters changed in the step that said what is committed
    7361,  # the core was two parts that had never heard of each other
    3813,  # answers were kept for a node that fails whatever it does, and pauses between
    8644,  # who had lost a batch of its journal got a value again, and had collected its deletion
    3712,  # a node that had stopped, but for what its disk had to write, was elected
    4547,  # two teams met: all were late, and were compared before they had told each other
    9468,  # who was outrun at an answer was taken for its author, and nobody was left for another
    40861231,  # a request for votes left a hung disk after others had changed the voters
    *(8892, 100547),  # one node that fails or lies is all there is, and uses up all attempts
]


def first_seed() -> int:
    """Other seeds for every commit: QUORATE_FIRST_SEED, or from the commit's hash."""
    given = os.environ.get("QUORATE_FIRST_SEED")
    if given is not None:
        return int(given)
    asked = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent
    )
    return int(asked.stdout[:7], 16) if asked.returncode == 0 else 1_000_000


# -- seeds --------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_the_fixed_seeds_hold(chunk: int) -> None:
    for seed in [*range(chunk, FIXED_SEEDS, CHUNKS), *FAILED_ONCE[chunk::CHUNKS]]:
        outcome = simulate(seed)
        assert outcome.verdict is Verdict.HELD, outcome.summary()


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_the_seeds_of_this_commit_hold(chunk: int) -> None:
    first = first_seed()
    for seed in range(first + chunk, first + DRAWN_SEEDS, CHUNKS):
        outcome = simulate(seed)
        assert outcome.verdict is Verdict.HELD, f"first seed {first}: {outcome.summary()}"


def test_the_same_seed_gives_the_same_trace() -> None:
    one, other = simulate(9), simulate(9)
    assert one == other
    assert one.trace_digest != simulate(19).trace_digest


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


# -- plans that were made smaller ---------------------------------------------------------------


def test_what_is_left_of_a_reduced_plan_is_as_it_was_drawn() -> None:
    whole = next(plan for plan in map(draw, range(100)) if len(plan.faults) > 10)
    numbers = [fault.number for fault in whole.faults]
    assert len(numbers) == len(set(numbers))
    some = plan_of(whole.seed, only_faults=numbers[3:6])
    assert some.faults == whole.faults[3:6]
    assert (some.nodes, some.links, some.work) == (whole.nodes, whole.links, whole.work)
    assert plan_of(whole.seed, only_faults=()).faults == ()
    until = whole.faults[5].at_ns
    sooner = plan_of(whole.seed, until_ns=until)
    assert sooner.end_ns == until
    assert sooner.faults == tuple(fault for fault in whole.faults if fault.at_ns < until)
    assert plan_of(whole.seed, plain=("links",)).links == LinkConditions()


def test_a_reduced_plan_says_which_command_repeats_it() -> None:
    plan = plan_of(7, 3, (5, 2), 12 * SECOND + SECOND // 2, PLAIN_PARTS[:2])
    assert plan.command == (
        "quorate sim --seed 7 --nodes 3 --only-faults 2,5 --until 12.5 --plain knobs,links"
    )
    assert plan_of(7).command == "quorate sim --seed 7"
    assert plan_of(7, only_faults=()).command == "quorate sim --seed 7 --only-faults none"


def test_every_fault_is_a_line_to_read() -> None:
    told: dict[type, str] = {}
    for plan in map(draw, range(200)):
        for fault in plan.faults:
            told[type(fault)] = str(fault)
            assert str(fault) in str(plan).split("\n    ")
    assert set(told) == set(KINDS)
    for line in told.values():
        assert line.startswith("#")
        assert "\n" not in line


def test_a_storm_of_steps_is_a_crash_and_no_endless_run() -> None:
    outcome = simulate(1, steps_max=50)
    assert (outcome.verdict, outcome.checker) == (Verdict.CRASH, "AssertionError")
    assert "a storm" in outcome.detail


def test_an_event_is_something_that_happened_at_its_time() -> None:
    """Of three things in the queue one is void and one has not come yet."""
    world = settled_world(1, seed=1)
    (host,) = world.hosts
    host.crash()
    before = world.events
    world.at(world.now + 1, lambda: None)
    world.at(world.now + SECOND, lambda: None)
    world.run(world.now + SECOND // 2)
    assert world.events == before + 1, "and the timers of the crashed node are none"
