"""Attempts of one node: how many at once, what they are shown, when they are stopped, what they
cost."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate

import pytest
from ledger_hand import job, task
from small_world import SmallWorld
from team_hand import CONFIG, Desk, finished, invoked

from protocol import config as presets
from protocol.clocks import SECOND, Nanoseconds
from protocol.effects import Abort, Assignment
from protocol.events import AgentFailed, Completed, Failure
from protocol.facts.work import TaskAbandoned, TaskCompleted, TaskStarted
from protocol.identity import NodeId
from protocol.jobs import Budget, ClaimMode, File, Quorum, Usage
from protocol.ledger import AcceptResult, encode_command

ALL_MODES = list(ClaimMode)

# -- several agents on one node -------------------------------------------------------------------

PAIR = replace(presets.local(), team=replace(presets.local().team, slots=2))


@pytest.mark.parametrize("claims", ALL_MODES)
def test_a_node_with_two_slots_runs_two_agents_at_once_and_each_attempt_once(
    claims: ClaimMode,
) -> None:
    small = SmallWorld(1, config=PAIR)
    small.do(job(*(task(name) for name in "abcd"), claims=claims))
    started = [(f.task, f.slot, f.token) for _, _, f in small.diary.of(TaskStarted)]
    assert sorted(started) == [(name, 0, 1) for name in "abcd"]
    moments = [(at, 1) for at, _, _ in small.diary.of(TaskStarted)]
    moments += [(at, -1) for at, _, _ in small.diary.of(TaskCompleted)]
    assert max(accumulate(change for _, change in sorted(moments))) == 2


def test_a_node_that_gets_nothing_accepted_does_not_pile_up_results() -> None:
    desk = Desk(replace(CONFIG, handed_in_max=3, patience_ns=0))
    first = desk.begin(*(task(f"t{number}") for number in range(6)))
    number, begun = first.invocation, 1
    while number in desk.team.running:
        turn = desk.turn()
        file = File(desk.team.running[number].unit[1], b"")
        desk.team.completed(turn, finished(number, file))
        begun += len(invoked(desk.settle(turn)))
        number += 1
    assert begun == 3
    for _ in range(5):  # its claims are kept alive all the same
        desk.wait(CONFIG.renew_ns)
    assert not desk.team.running


# -- independence ---------------------------------------------------------------------------------


def test_an_answer_is_given_without_sight_of_the_others() -> None:
    small = SmallWorld(1)
    small.do(job(task("a", quorum=Quorum(2, 2))))
    assert [(given.slot, given.partial) for given in small.agents.given] == [(0, ()), (1, ())]


def test_what_another_task_wrote_is_an_input_and_no_earlier_attempt() -> None:
    small = SmallWorld(1)
    draft = replace(task("draft"), writes=("f",))
    refine = replace(task("refine", "draft"), writes=("f",))
    use = task("use", "refine")
    small.do(job(refine, draft, use))  # in whatever order they are listed
    given = {each.task.id: each for each in small.agents.given}
    assert given["refine"].partial == ()
    assert given["refine"].inputs == (File("f", b"draft"),)
    assert given["use"].inputs == (File("f", b"refine"),)


# -- attempts that slept --------------------------------------------------------------------------


def test_an_agent_that_slept_past_its_lease_is_stopped_in_the_end() -> None:
    """It may finish, as evidence; but not hold a slot for as long as it likes."""
    desk = Desk()
    first = desk.begin(task("a"))
    desk.wait(CONFIG.lease_ns + 1)
    other = AcceptResult("job", "a", 0, NodeId("b"), 9, (File("a", b""),), "", Usage())
    turns = [desk.commit(encode_command(other))]
    turns += [desk.wait(SECOND) for _ in range(2 * CONFIG.lease_ns // SECOND)]
    stopped = [item for turn in turns for item in turn.before if isinstance(item, Abort)]
    assert [abort.invocation for abort in stopped] == [first.invocation]
    assert not any(isinstance(item, Abort) for turn in turns[:9] for item in turn.before)


# -- budgets --------------------------------------------------------------------------------------


def test_failed_attempts_count_against_the_budget() -> None:
    def costly(assignment: Assignment) -> tuple[Nanoseconds, AgentFailed]:
        return SECOND, AgentFailed(0, Failure.VERIFY, "no", (), Usage(1, 600, 0))

    small = SmallWorld(3, costly)
    tasks = [task(name, attempts_max=20) for name in "abc"]
    small.do(replace(job(*tasks), budget=Budget(tokens=1_000)))
    assert len(small.agents.given) <= 3 * 3, "each node begins each task once and is denied"
    spent = [node.peer.ledger.jobs["job"].spent() for node in small.hosts if node.peer]
    failed = [node.peer.team.notes.usage("job") for node in small.hosts if node.peer]
    assert {use.tokens_in for use in spent} == {0}
    assert {use.tokens_in for use in failed} == {600}, "a second call would be over the budget"
    (ended,) = {f.reason for _, number, f in small.diary.of(TaskAbandoned) if number == 0}
    assert ended == (
        "the budget of 1000 tokens is used up: 400 tokens left, and a call may use 600 tokens"
    )


def test_a_restart_grants_no_more_time() -> None:
    def endless(assignment: Assignment) -> tuple[Nanoseconds, Completed]:
        return 1_000 * SECOND, Completed(0, (), "x", Usage())

    small = SmallWorld(1, endless)
    small.submit(replace(job(task("a")), budget=Budget(wall_s=20.0)))
    for _ in range(3):
        small.run(9 * SECOND)
        small.hosts[0].crash()
        small.hosts[0].start()
    assert small.run(3 * SECOND, small.is_finished)
