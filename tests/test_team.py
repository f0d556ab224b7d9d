"""The team: first one node's machine by hand, then teams in a simulated world."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ledger_hand import job, task
from small_world import EAGER, SmallWorld, done, failed
from team_hand import CONFIG, SELF, Desk, commands, finished, invoked, replies

from protocol import codec
from protocol.claims import Claim, Phase, claim_key
from protocol.clocks import SECOND, Nanoseconds
from protocol.effects import Abort, Assignment, Reply
from protocol.events import AgentFailed, CancelAsked, Completed, Failure
from protocol.facts.work import (
    AttemptAborted,
    AttemptFailed,
    ClaimLost,
    JobFinished,
    LeaseExpired,
    TaskAbandoned,
    TaskAccepted,
    TaskClaimed,
    TaskStarted,
)
from protocol.jobs import (
    FILE_SIZE_MAX,
    NO_USAGE,
    RESULT_SIZE_MAX,
    Budget,
    ClaimMode,
    File,
    Quorum,
    Usage,
)
from protocol.ledger import (
    AbandonTask,
    AcceptResult,
    SubmitJob,
    decode_command,
    encode_command,
)

ALL_MODES = list(ClaimMode)
DIAMOND = (task("a"), task("b", "a"), task("c", "a"), task("d", "b", "c"))


# -- one machine, by hand -----------------------------------------------------------------------


def test_a_wish_is_repeated_until_it_shows() -> None:
    desk = Desk()
    (command,) = commands(desk.submit(job(task("a"))))
    assert isinstance(decode_command(command), SubmitJob)
    for tries in range(3):  # ever more seldom
        assert commands(desk.wait((CONFIG.propose_retry_ns << tries) - 1)) == []
        assert commands(desk.wait(1)) == [command]
    assert replies(desk.commit(command)) == [Reply(7, "", "job")]
    assert commands(desk.wait(CONFIG.propose_retry_ns)) == []


def test_a_client_is_told_when_nothing_was_confirmed_in_time() -> None:
    desk = Desk()
    desk.submit(job(task("a")))
    (reply,) = replies(desk.wait(CONFIG.submit_timeout_ns))
    assert (reply.request, reply.error) == (7, "TimedOut")
    assert commands(desk.wait(CONFIG.propose_retry_ns)) == []


def test_an_invalid_job_is_refused_at_once() -> None:
    (reply,) = replies(Desk().submit(job(task("a", "b"), task("b", "a"))))
    assert reply.error == "InvalidJob"
    assert "cycle" in reply.detail


def test_a_second_job_of_one_name_is_refused() -> None:
    desk = Desk()
    desk.begin(task("a"))
    (reply,) = replies(desk.submit(job(task("z"))))
    assert (reply.error, "already" in reply.detail) == ("InvalidJob", True)


def test_waiting_requests_are_bounded() -> None:
    desk = Desk(replace(CONFIG, pending_max=2))
    for number in range(2):
        assert replies(desk.submit(job(task("a"), name=f"j{number}"))) == []
    assert [reply.error for reply in replies(desk.submit(job(task("a"), name="j2")))] == ["Busy"]


def test_an_agent_is_given_what_the_task_needs() -> None:
    desk = Desk()
    first = desk.begin(task("a"), task("b", "a"))
    turn = desk.turn()
    desk.team.completed(turn, finished(first.invocation, File("a", b"made")))
    (command,) = commands(desk.settle(turn))
    assert isinstance(decode_command(command), AcceptResult)
    (second,) = invoked(desk.commit(command))
    assert second.assignment.task.id == "b"
    assert second.assignment.inputs == (File("a", b"made"),)


def test_a_node_runs_no_more_agents_than_it_has_slots() -> None:
    desk = Desk(replace(CONFIG, slots=2))
    desk.begin(*[task(f"t{number}") for number in range(5)])
    assert len(desk.team.running) == 2


def test_a_failed_attempt_leaves_a_note_for_the_next_one() -> None:
    desk = Desk()
    first = desk.begin(task("a"))
    turn = desk.turn()
    event = AgentFailed(first.invocation, Failure.VERIFY, "two tests fail", (), Usage())
    desk.team.agent_failed(turn, event)
    (second,) = invoked(desk.settle(turn))
    assert second.assignment.token == 2
    assert second.assignment.notes == ("verify: two tests fail",)


def test_a_claim_that_waits_to_be_written_is_not_lost_to_the_one_before() -> None:
    """Else the node begins again and again in an overloaded team (seed 6179)."""
    desk = Desk()
    first = desk.begin(task("a"))
    desk.is_overloaded = True
    turn = desk.turn()
    desk.team.agent_failed(turn, AgentFailed(first.invocation, Failure.AGENT, "", (), Usage()))
    (second,) = invoked(desk.settle(turn))
    assert second.assignment.token == 2
    assert not any(isinstance(effect, Abort) for effect in turn.before)
    assert list(desk.team.running) == [second.invocation]


def test_what_was_given_back_is_not_begun_again_before_the_log_says_so() -> None:
    """Also while the word of it waits to be written (seed 106)."""
    desk = Desk()
    (submission,) = commands(desk.submit(job(task("a"), claims=ClaimMode.RAFT)))
    (claim,) = commands(desk.commit(submission))
    desk.is_overloaded = True
    (first,) = invoked(desk.commit(claim))
    turn = desk.turn()
    desk.team.agent_failed(turn, AgentFailed(first.invocation, Failure.AGENT, "", (), Usage()))
    assert invoked(desk.settle(turn)) == []
    assert not desk.team.running


def test_what_was_finished_before_a_failure_is_handed_on() -> None:
    desk = Desk()
    first = desk.begin(task("a"))
    turn = desk.turn()
    attempt = desk.team.running[first.invocation]
    desk.team.attempts.share(turn, attempt, (File("a", b"half"),))
    desk.settle(turn)
    turn = desk.turn()
    desk.team.agent_failed(turn, AgentFailed(first.invocation, Failure.AGENT, "", (), Usage()))
    (second,) = invoked(desk.settle(turn))
    assert second.assignment.partial == (File("a", b"half"),)


def test_attempts_are_bounded() -> None:
    desk = Desk()
    invocation = desk.begin(task("a", attempts_max=3)).invocation
    for number in range(3):
        turn = desk.turn()
        desk.team.agent_failed(turn, AgentFailed(invocation, Failure.VERIFY, "no", (), Usage()))
        started = invoked(desk.settle(turn))
        assert len(started) == (number < 2)
        invocation = started[0].invocation if started else 0
    (command,) = commands(turn)
    abandon = decode_command(command)
    assert isinstance(abandon, AbandonTask)
    assert abandon.reason.startswith("3 attempts failed")


def test_a_task_that_no_model_knows_is_given_up_at_once() -> None:
    desk = Desk()
    first = desk.begin(task("a"))
    turn = desk.turn()
    event = AgentFailed(first.invocation, Failure.UNKNOWN_TASK, "not in the book", (), Usage())
    desk.team.agent_failed(turn, event)
    desk.settle(turn)
    assert [type(decode_command(command)) for command in commands(turn)] == [AbandonTask]
    assert invoked(turn) == []


def test_a_claim_is_renewed_while_the_agent_works() -> None:
    desk = Desk()
    desk.begin(task("a"))
    before = desk.store.last_of(SELF.node)
    for _ in range(3):
        desk.wait(CONFIG.renew_ns)
    assert desk.store.last_of(SELF.node) == before + 3


def test_an_agent_is_stopped_when_its_task_is_settled() -> None:
    desk = Desk()
    first = desk.begin(task("a"), task("z"))
    command = AbandonTask("job", first.assignment.task.id, "somebody said so")
    turn = desk.commit(encode_command(command))
    aborts = [item for item in turn.before if isinstance(item, Abort)]
    assert [abort.invocation for abort in aborts] == [first.invocation]


def test_a_late_word_of_an_unknown_agent_counts_for_nothing() -> None:
    desk = Desk()
    turn = desk.turn()
    desk.team.completed(turn, finished(99))
    desk.team.agent_failed(turn, AgentFailed(99, Failure.AGENT, "", (), Usage()))
    assert not turn.facts
    assert not turn.writes


def test_a_result_that_the_log_refuses_is_not_proposed_for_ever() -> None:
    """Each file is within its limit and all together are not: the ledger refuses the result, and
    with every repetition the log would grow by a megabyte."""
    desk = Desk()
    paths = tuple(f"f{number}" for number in range(1 + RESULT_SIZE_MAX // FILE_SIZE_MAX))
    first = desk.begin(replace(task("a"), writes=paths))
    turn = desk.turn()
    files = (File(path, bytes(FILE_SIZE_MAX)) for path in paths)
    desk.team.completed(turn, finished(first.invocation, *files))
    proposed = list(commands(desk.settle(turn)))
    for command in proposed:
        desk.commit(command)
    again = [command for _ in range(20) for command in commands(desk.wait(SECOND))]
    assert not [c for c in again if isinstance(decode_command(c), AcceptResult)]


@pytest.mark.parametrize(
    ("usage", "text"),
    [
        (Usage(1, -1, 0), ""),
        (Usage(1, 12.5, 0), ""),  # type: ignore[arg-type]
        (Usage(), "half \ud83d"),
        (Usage(), "x" * (codec.STRING_SIZE_MAX + 1)),
    ],
)
def test_a_result_that_cannot_travel_fails_its_attempt(usage: Usage, text: str) -> None:
    """It would be proposed, and rejected by whoever decodes it, for ever."""
    desk = Desk()
    first = desk.begin(task("a"))
    turn = desk.turn()
    desk.team.completed(turn, Completed(first.invocation, (), text, usage))
    assert [fact.reason for fact in turn.facts if isinstance(fact, AttemptFailed)] == ["output"]
    proposed = [decode_command(command) for command in commands(desk.settle(turn))]
    assert not [command for command in proposed if isinstance(command, AcceptResult)]


def test_a_claim_from_an_earlier_life_is_void() -> None:
    desk = Desk()
    claim = Claim(SELF.node, 4, Phase.WORKING)
    desk.store.write([(claim_key(("job", "a", 0)), codec.pack_value(claim))], 0)
    desk.team.restore(0)
    assert desk.begin(task("a")).assignment.token == 5


# -- a team in a small world --------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("claims", ALL_MODES)
def test_a_job_is_done_in_every_mode(claims: ClaimMode, size: int) -> None:
    small = SmallWorld(size)
    small.do(job(*DIAMOND, claims=claims))
    outcomes = {
        host.peer.ledger.jobs["job"].outcome for host in small.hosts if host.peer is not None
    }
    assert len(outcomes) == 1
    assert all(fact.succeeded for _, _, fact in small.diary.of(JobFinished))
    assert len(small.agents.given) == len(DIAMOND), "no work was done twice"


@pytest.mark.parametrize("claims", ALL_MODES)
def test_no_task_starts_before_what_it_needs_is_accepted(claims: ClaimMode) -> None:
    small = SmallWorld(5)
    small.do(job(*DIAMOND, claims=claims))
    accepted: dict[tuple[int, str], Nanoseconds] = {}
    for at, number, fact in small.diary.of(TaskAccepted):
        accepted[number, fact.task] = at
    needs = {each.id: each.needs for each in DIAMOND}
    for at, number, start in small.diary.of(TaskStarted):
        for need in needs[start.task]:
            assert accepted[number, need] <= at


@pytest.mark.parametrize("claims", ALL_MODES)
def test_free_tasks_are_shared_among_all(claims: ClaimMode) -> None:
    small = SmallWorld(5)
    small.do(job(*[task(f"t{number}") for number in range(10)], claims=claims))
    starts = {number for _, number, _ in small.diary.of(TaskStarted)}
    assert starts == {0, 1, 2, 3, 4}


def test_who_falls_idle_at_once_does_not_claim_the_same_while_there_is_plenty() -> None:
    """Agents that all take equally long leave their nodes idle in the same moment, before any of
    them knows of the others."""
    world = SmallWorld(4, lambda assignment: done(assignment, SECOND // 20), seed=2)
    world.do(job(*(task(f"t{number}") for number in range(120))))
    begun = len(world.diary.of(TaskStarted))
    assert begun <= 120 + 2, "where little is left, all know who may be at work already"
    told = {fact.task for _, _, fact in world.diary.of(TaskClaimed)}
    assert len(told) <= 120 // 3, "what is done in no time need not be told of, once that is known"


def test_colliding_claims_end_with_one_holder() -> None:
    """Without patience all five nodes take the one task at once."""
    small = SmallWorld(5, config=EAGER)
    small.do(job(task("a")))
    assert len(small.diary.of(TaskStarted)) > 1
    lost = small.diary.of(ClaimLost)
    assert lost
    winners = {fact.node for _, _, fact in small.diary.of(TaskAccepted)}
    assert len(winners) == 1
    aborted = {number for _, number, _ in small.diary.of(AttemptAborted)}
    assert aborted >= {number for _, number, _ in lost}


@pytest.mark.parametrize("claims", ALL_MODES)
def test_a_failed_holder_s_task_is_taken_over_under_a_higher_token(claims: ClaimMode) -> None:
    def slow_at_first(assignment: Assignment) -> tuple[Nanoseconds, Completed]:
        return done(assignment, after=300 * SECOND if assignment.token == 1 else SECOND)

    small = SmallWorld(5, slow_at_first)
    small.submit(job(task("a"), claims=claims))
    assert small.run(20 * SECOND, lambda: bool(small.diary.of(TaskStarted)))
    holder = small.diary.of(TaskStarted)[0][1]
    small.hosts[holder].crash()
    assert small.run(60 * SECOND, small.is_finished)
    tokens = {fact.token for _, _, fact in small.diary.of(TaskAccepted)}
    assert len(tokens) == 1
    assert tokens.pop() > 1
    assert small.diary.of(LeaseExpired)


@pytest.mark.parametrize("claims", ALL_MODES)
def test_a_task_that_always_fails_is_tried_a_bounded_number_of_times(claims: ClaimMode) -> None:
    small = SmallWorld(3, lambda assignment: failed())
    small.do(job(task("a", attempts_max=4), task("b", "a"), claims=claims))
    assert 4 <= len(small.diary.of(AttemptFailed)) <= 6, "a note may be on its way"
    assert {fact.task for _, _, fact in small.diary.of(TaskAbandoned)} == {"a"}
    assert not any(fact.succeeded for _, _, fact in small.diary.of(JobFinished))


def test_independent_answers_come_from_different_nodes() -> None:
    small = SmallWorld(5)
    small.do(job(task("a", quorum=Quorum(3, 3))))
    assert len({number for _, number, _ in small.diary.of(TaskStarted)}) == 3


def test_the_token_budget_ends_a_job() -> None:
    def costly(assignment: Assignment) -> tuple[Nanoseconds, Completed]:
        return done(assignment, usage=Usage(1, 60, 40))

    chain = (task("a"), task("b", "a"), task("c", "b"), task("d", "c"))
    small = SmallWorld(3, costly)
    small.do(replace(job(*chain), budget=Budget(tokens=150)))
    state = small.hosts[0].peer.ledger.jobs["job"]  # type: ignore[union-attr]
    assert [name for name, each in state.tasks.items() if each.accepted] == ["a"]
    assert "budget of 150 tokens" in state.tasks["b"].abandoned, "50 are left, and it needs 100"


def test_a_minority_goes_on_with_leased_work_and_accepts_nothing() -> None:
    small = SmallWorld(5)
    small.submit(job(*[task(f"t{number}") for number in range(30)]))
    small.run(2 * SECOND)
    leader = small.leader()
    assert leader is not None
    others = [host.number for host in small.hosts if host is not leader]
    small.world.network.cut(others[:2], [leader.number, *others[2:]])
    small.run(2 * SECOND)
    small.diary.pages.clear()
    small.run(2 * SECOND)
    assert {n for _, n, _ in small.diary.of(TaskStarted)} & set(others[:2])
    assert not {n for _, n, _ in small.diary.of(TaskAccepted)} & set(others[:2])
    small.world.network.heal()
    assert small.run(120 * SECOND, small.is_finished)


@pytest.mark.parametrize("claims", [ClaimMode.RAFT, ClaimMode.LEADER, ClaimMode.ASSIGNED])
def test_a_claim_by_the_log_is_known_to_all(claims: ClaimMode) -> None:
    small = SmallWorld(3)
    small.do(job(task("a"), claims=claims))
    claimed = {(fact.node, fact.token) for _, _, fact in small.diary.of(TaskClaimed)}
    assert len(claimed) == 1
    assert {number for _, number, _ in small.diary.of(TaskClaimed)} == {0, 1, 2}


# -- ended by a client -----------------------------------------------------------------------------


def test_a_job_that_is_cancelled_ends_and_keeps_what_was_accepted() -> None:
    desk = Desk()
    desk.begin(task("a"), task("b", "a"), task("c"))
    first = AcceptResult("job", "a", 0, SELF.node, 1, (File("a", b"a"),), "", NO_USAGE)
    desk.commit(encode_command(first))
    turn = desk.turn()
    desk.team.cancel(turn, CancelAsked(9, "job", "cancelled: enough"))
    desk.settle(turn)
    assert replies(turn) == [Reply(9, "", "")]
    for command in commands(turn):
        turn = desk.commit(command)
    state = desk.ledger.jobs["job"]
    assert {name: each.abandoned for name, each in state.tasks.items()} == {
        "a": "",
        "b": "cancelled: enough",
        "c": "cancelled: enough",
    }
    assert state.is_finished
    assert not state.succeeded
    assert all(attempt.aborted for attempt in desk.team.running.values())


@pytest.mark.parametrize("name", ["job", "nothing"])
def test_only_a_job_that_goes_on_is_cancelled(name: str) -> None:
    desk = Desk()
    desk.begin(task("a"))
    for _ in range(2):
        turn = desk.turn()
        desk.team.cancel(turn, CancelAsked(9, "job", "enough"))
        for command in commands(desk.settle(turn)):
            desk.commit(command)
    turn = desk.turn()
    desk.team.cancel(turn, CancelAsked(9, name, "enough"))
    assert replies(turn) == [Reply(9, "NotPossible", f"no job {name!r} is going on here")]
