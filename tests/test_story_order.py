"""The causal order of facts from several nodes."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from story_hand import ADA, BOB, CAT, UNIT, Team

from node.lab.story.moments import LOG, Moment
from protocol.clocks import Order, VersionVector
from protocol.facts import Fact
from protocol.facts.work import (
    AttemptFailed,
    ClaimLost,
    JobSubmitted,
    LeaseExpired,
    ResultReviewed,
    TaskAccepted,
    TaskClaimed,
    TaskCloned,
    TaskCompleted,
    TaskFenced,
    TaskStarted,
)
from protocol.identity import NodeId

SUBMITTED = JobSubmitted("job", 3, 1)
STARTED = TaskStarted(*UNIT, 1, False)
COMPLETED = TaskCompleted(*UNIT, 1, "d")
ACCEPTED = TaskAccepted("job", "t", ADA, 1, "d", 7)


def places(moments: list[Moment]) -> list[tuple[str, str]]:
    return [(moment.process, type(moment.fact).__name__) for moment in moments]


def pair(moments: list[Moment], one: type, other: type) -> tuple[Moment, Moment]:
    """The first moments of these kinds."""
    found = [
        next(moment for moment in moments if isinstance(moment.fact, kind)) for kind in (one, other)
    ]
    return found[0], found[1]


def test_what_the_log_says_happens_once_and_is_heard_by_each() -> None:
    moments = Team().all_say(5.0, ACCEPTED).moments()
    assert places(moments) == [(LOG, "TaskAccepted")]
    assert moments[0].at_s == 5.0
    assert moments[0].heard == {ADA: 5.0, BOB: 5.001, CAT: 5.002}


def test_entries_of_the_log_are_in_the_order_of_their_indexes() -> None:
    team = Team().say(1.0, ACCEPTED, BOB).say(9.0, SUBMITTED, CAT)
    assert places(team.moments()) == [(LOG, "JobSubmitted"), (LOG, "TaskAccepted")]


def test_a_result_comes_before_its_acceptance_whatever_the_clocks_say() -> None:
    team = Team().say(100.0, STARTED, ADA).say(101.0, COMPLETED, ADA).say(5.0, ACCEPTED, BOB)
    moments = team.moments()
    assert places(moments) == [(ADA, "TaskStarted"), (ADA, "TaskCompleted"), (LOG, "TaskAccepted")]
    made, accepted = pair(moments, TaskCompleted, TaskAccepted)
    assert made.clock.compare(accepted.clock) is Order.BEFORE


def test_a_result_of_another_attempt_is_no_cause_of_an_acceptance() -> None:
    other = TaskCompleted(*UNIT, 1, "other")
    moments = Team().say(2.0, other, BOB).say(1.0, ACCEPTED, CAT).moments()
    assert places(moments) == [(LOG, "TaskAccepted"), (BOB, "TaskCompleted")]
    made, accepted = pair(moments, TaskCompleted, TaskAccepted)
    assert made.is_concurrent_with(accepted)


def test_a_claim_comes_before_what_others_make_of_it() -> None:
    expired = LeaseExpired(*UNIT, ADA, 1)
    team = Team().say(50.0, STARTED, ADA).say(50.0, TaskClaimed(*UNIT, ADA, 1, 0), ADA)
    team.say(2.0, TaskClaimed(*UNIT, ADA, 1, 0), BOB).say(12.0, expired, BOB)
    moments = team.moments()
    assert places(moments) == [(ADA, "TaskStarted"), (BOB, "LeaseExpired")]
    assert moments[0].heard == {BOB: 2.0}, "its own word of it is none of another"
    assert moments[0].clock.compare(moments[1].clock) is Order.BEFORE


def test_claims_that_did_not_know_of_each_other_are_concurrent() -> None:
    team = Team()
    for at_s, node, other in ((1.0, ADA, BOB), (1.5, BOB, ADA)):
        team.say(at_s, STARTED, node).say(at_s, TaskClaimed(*UNIT, node, 1, 0), node)
        team.say(2.0, TaskClaimed(*UNIT, other, 1, 0), node)
    team.say(2.1, ClaimLost(*UNIT, BOB), ADA)
    moments = team.moments()
    first, second, lost = moments
    assert (first.process, second.process, lost.process) == (ADA, BOB, ADA)
    assert first.is_concurrent_with(second)
    assert not lost.is_concurrent_with(second), "it was lost to what had been heard of"


def test_a_claim_of_which_only_others_tell_is_told_by_their_word() -> None:
    claimed = TaskClaimed(*UNIT, CAT, 4, 0)
    moments = Team().say(3.0, claimed, ADA, BOB).moments()
    assert [(moment.is_hearsay, moment.fact) for moment in moments] == [(True, claimed)]
    assert moments[0].heard == {ADA: 3.0, BOB: 3.001}


def test_a_racer_that_takes_the_holders_place_claims_without_a_start() -> None:
    claimed = TaskClaimed(*UNIT, BOB, 2, 0)
    team = Team().say(1.0, TaskStarted(*UNIT, 1, True), BOB)
    team.say(1.0, TaskCloned(*UNIT, BOB, 1, 0), BOB, CAT).say(2.0, claimed, BOB, CAT)
    moments = team.moments()
    assert [moment.fact for moment in moments] == [TaskStarted(*UNIT, 1, True), claimed]
    assert (moments[1].process, moments[1].is_hearsay) == (BOB, False)


def test_a_failure_comes_before_the_attempt_that_it_let_begin() -> None:
    failed = AttemptFailed(*UNIT, 1, "verify", "")
    team = Team().say(60.0, STARTED, ADA).say(61.0, failed, ADA)
    team.say(1.0, TaskStarted(*UNIT, 2, False), BOB)
    moments = team.moments()
    assert [moment.process for moment in moments] == [ADA, ADA, BOB]
    assert moments[1].clock.compare(moments[2].clock) is Order.BEFORE


def test_a_failure_of_a_holder_that_was_given_up_on_caused_nothing() -> None:
    failed = AttemptFailed(*UNIT, 1, "verify", "")
    team = Team().say(60.0, STARTED, ADA).say(61.0, failed, ADA)
    team.say(1.0, TaskClaimed(*UNIT, ADA, 1, 0), BOB).say(2.0, LeaseExpired(*UNIT, ADA, 1), BOB)
    team.say(2.0, TaskStarted(*UNIT, 2, False), BOB)
    started, expired, began, ended = team.moments()
    assert (began.process, ended.fact) == (BOB, failed)
    assert began.is_concurrent_with(ended)
    assert expired.is_concurrent_with(ended)
    assert not started.is_concurrent_with(began)


def test_what_was_found_wrong_comes_before_the_attempt_that_follows() -> None:
    reviewed = ResultReviewed(*UNIT, ADA, 1, CAT, "wrong", 8)
    team = Team().say(1.0, STARTED, ADA).say(30.0, reviewed, CAT)
    team.say(2.0, TaskStarted(*UNIT, 2, False), BOB)
    assert places(team.moments())[1:] == [(LOG, "ResultReviewed"), (BOB, "TaskStarted")]


def test_a_fence_comes_after_the_only_reason_for_it() -> None:
    fenced, expired = TaskFenced(*UNIT, 2, 8), LeaseExpired(*UNIT, ADA, 1)
    team = Team().say(1.0, fenced, CAT).say(5.0, expired, BOB)
    assert places(team.moments()) == [(BOB, "LeaseExpired"), (LOG, "TaskFenced")]
    team.say(7.0, expired, CAT)  # now either of them may have asked for it
    fence = next(moment for moment in team.moments() if moment.fact == fenced)
    assert fence.causes == []


def test_a_clock_that_was_set_back_does_not_undo_the_order() -> None:
    team = Team().say(1.0, STARTED, ADA).say(2.0, ACCEPTED, ADA).say(3.0, COMPLETED, ADA)
    team.say(1.9, ACCEPTED, BOB)
    assert places(team.moments()) == [
        (ADA, "TaskStarted"),
        (ADA, "TaskCompleted"),
        (LOG, "TaskAccepted"),
    ]


def test_a_node_that_reads_the_log_again_changes_nothing() -> None:
    once = Team().all_say(5.0, ACCEPTED)
    again = Team().all_say(5.0, ACCEPTED).say(60.0, ACCEPTED, BOB)
    assert [moment.heard for moment in again.moments()] == [
        moment.heard for moment in once.moments()
    ]


class Run:
    """A run of three nodes, drawn at random, with true vector clocks beside the facts. The nodes'
    own clocks are wrong by up to an hour."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.team = Team()
        self.truth: dict[tuple[str, Fact], VersionVector] = {}
        self._clocks = {process: VersionVector() for process in (ADA, BOB, CAT, LOG)}
        self._skews = {node: random.uniform(0.0, 3_600.0) for node in (ADA, BOB, CAT)}
        self._now_s = 0.0
        self._index = 0

    def happen(self, process: str, fact: Fact, *causes: VersionVector) -> VersionVector:
        """Something happens after these causes; a node writes it down."""
        clock = self._clocks[NodeId(process)]
        for cause in causes:
            clock = clock.merge(cause)
        clock = clock.advance(process, clock.get(process, 0) + 1)
        self._clocks[NodeId(process)] = clock
        self.truth.setdefault((process, fact), clock)
        self._now_s += 0.01
        if process != LOG:
            self.team.say(self._now_s + self._skews[NodeId(process)], fact, NodeId(process))
        return clock

    def log(self, kind: Callable[..., Fact], *said: Any, cause: VersionVector) -> None:
        """An entry, which one or more nodes read."""
        self._index += 1
        entry = kind(*said, self._index)
        clock = self.happen(LOG, entry, cause)
        for node in self.random.sample([ADA, BOB, CAT], self.random.randint(1, 3)):
            self.happen(node, entry, clock)

    def attempt(self, token: int, before: tuple[NodeId, VersionVector, VersionVector]) -> Any:
        """A holder after another one (its start, its end) that failed, or is given up on."""
        random, (earlier, begun, failed) = self.random, before
        node = random.choice([each for each in (ADA, BOB, CAT) if each != earlier])
        causes = [failed]
        if token > 1 and random.random() < 0.5:
            self.happen(node, TaskClaimed(*UNIT, earlier, token - 1, 0), begun)
            gave_up = self.happen(node, LeaseExpired(*UNIT, earlier, token - 1))
            self.log(TaskFenced, *UNIT, token, cause=gave_up)
            causes = []
        start = self.happen(node, TaskStarted(*UNIT, token, False), *causes)
        for other in random.sample([ADA, BOB, CAT], 2):
            self.happen(other, TaskClaimed(*UNIT, node, token, 0), start)
        if random.random() < 0.3:
            end = self.happen(node, TaskCompleted(*UNIT, token, f"d{token}"))
            self.log(TaskAccepted, "job", "t", node, token, f"d{token}", cause=end)
        return node, start, self.happen(node, AttemptFailed(*UNIT, token, "agent", ""))


@pytest.mark.parametrize("seed", range(40))
def test_no_order_is_told_that_was_not_there(seed: int) -> None:
    run = Run(Random(seed))
    before: Any = (ADA, VersionVector(), VersionVector())
    for token in range(1, 6):
        before = run.attempt(token, before)
    moments = run.team.moments()
    true = [run.truth[moment.process, moment.fact] for moment in moments]
    ordered = 0
    for place, moment in enumerate(moments):
        for later in range(place + 1, len(moments)):
            assert true[later].compare(true[place]) is not Order.BEFORE, "effects after causes"
            if moment.clock.compare(moments[later].clock) is Order.BEFORE:
                assert true[place].compare(true[later]) is Order.BEFORE
                ordered += 1
    assert ordered >= len(moments) - 1
