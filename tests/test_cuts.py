"""Partial cuts of real processes: a team that a cut has left a way serves through every node."""

from __future__ import annotations

import pytest

from node.lab.cuts import GOALS, CutOutcome, measure
from protocol.clocks import SECOND
from protocol.sim.linearizable import Report, Verdict
from protocol.sim.partial_cuts import SIZES, Availability


async def test_three_processes_serve_through_all_when_the_leader_and_another_are_cut() -> None:
    outcome = await measure("chain3", 4 * SECOND)
    assert outcome.is_held, (str(outcome), outcome.failed)
    assert outcome.relayed > 0, "there was no other way"


def test_every_shape_has_a_goal() -> None:
    assert list(GOALS) == list(SIZES)


def report(verdict: Verdict) -> Report:
    return Report(verdict, 1, 1, 1, (), None)


def outcome_of(name: str, by_node: tuple[float, ...], **changes: object) -> CutOutcome:
    availability = Availability(max(by_node), by_node, 0, 1)
    given: dict[str, object] = {
        "leader": 0,
        "leaders_share": 0.0,
        "failed": (),
        "history": report(Verdict.TRUE),
    }
    given |= {"outage_s": 0.1, "cut_frames": 9, "relayed": 0}
    return CutOutcome(name, availability=availability, **(given | changes))  # type: ignore[arg-type]


def test_who_hears_nobody_does_not_count() -> None:
    assert outcome_of("mute_in", (0.0, 1.0, 1.0, 1.0, 1.0)).is_held
    assert not outcome_of("mute_in", (1.0, 1.0, 1.0, 1.0, 0.9)).is_held
    assert not outcome_of("star5", (0.0, 1.0, 1.0, 1.0, 1.0)).is_held


@pytest.mark.parametrize(
    "change",
    [
        {"failed": ("cut/1: TimedOut",)},
        {"history": report(Verdict.FALSE)},
        {"leaders_share": 0.1},
        {"cut_frames": 0},
    ],
)
def test_a_goal_is_more_than_availability(change: dict[str, object]) -> None:
    assert outcome_of("chain3", (1.0, 1.0, 1.0)).is_held
    assert not outcome_of("chain3", (1.0, 1.0, 1.0), **change).is_held
