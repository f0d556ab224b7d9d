"""One bad node does not fail a job, and neither does a model that is away for a while: first one
node's machine by hand, then teams in a simulated world."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ledger_hand import job, task
from small_world import Diary, Scripted, SmallWorld, done, failed
from team_hand import CONFIG, SELF, Desk, commands, finished, invoked

from protocol import codec
from protocol.claims import FailNote, note_key
from protocol.clocks import MILLISECOND, SECOND, Nanoseconds
from protocol.effects import Assignment, Invoke
from protocol.events import AgentFailed, Completed, Failure
from protocol.facts.work import (
    AttemptFailed,
    JobFinished,
    TaskAbandoned,
    TaskAccepted,
    TaskStarted,
)
from protocol.identity import Identity
from protocol.jobs import NO_USAGE, ClaimMode, Compare, File, Quorum
from protocol.ledger import AbandonTask, AcceptResult, decode_command, encode_command
from protocol.sim.plan import draw
from protocol.sim.scenario import Run, Verdict
from protocol.sim.workload import PLAIN
from protocol.store import Store
from protocol.team import View
from protocol.turn import Turn

ALL_MODES = list(ClaimMode)
ENDPOINT = "http://127.0.0.1:9/v1 cannot be reached"
ADA = Identity(b"k" * 32)  # whom the task "a" suits less than SELF


def fail(desk: Desk, invoked: Invoke, reason: Failure = Failure.VERIFY) -> Turn:
    """The agent ends without a result."""
    turn = desk.turn()
    detail = ENDPOINT if reason is Failure.UNREACHABLE else "no"
    event = AgentFailed(invoked.invocation, reason, detail, (), NO_USAGE)
    desk.team.agent_failed(turn, event)
    return desk.settle(turn)


def next_start(desk: Desk, within: Nanoseconds = 400 * SECOND) -> tuple[Nanoseconds, Invoke]:
    """After how long the next agent is started, to 100 ms, and what it is given."""
    before = desk.now
    while desk.now - before < within:
        if started := invoked(desk.wait(100 * MILLISECOND)):
            return desk.now - before, started[0]
    raise AssertionError("nothing is started")


def fail_and_go_on(desk: Desk, started: Invoke) -> tuple[Nanoseconds, Invoke]:
    """The same, after an agent has ended without a result."""
    at_once = invoked(fail(desk, started))
    return (0, at_once[0]) if at_once else next_start(desk)


def meet(desk: Desk) -> None:
    """Another node is there; this one still leads."""
    desk.view = View(frozenset({SELF.node, ADA.node}), frozenset(), SELF.node)


def hear_of_failures(desk: Desk, reason: Failure, *names: str) -> Turn:
    """Notes of the other node about these tasks come by gossip."""
    note = codec.pack_value(FailNote(ADA.node, 0, 1, reason.value, "no", NO_USAGE))
    keys = [note_key("job", name, ADA.node, 0) for name in names]
    batch, _ = Store(ADA, "team", 10_000).write([(key, note) for key in keys], desk.now)
    assert desk.store.merge(batch)
    turn = desk.turn()
    for key in keys:
        desk.team.dirty |= desk.team.hearing.learn_key(turn, key, desk.now)
    return desk.settle(turn)


def hear_of_failure(desk: Desk, name: str, reason: Failure) -> Turn:
    return hear_of_failures(desk, reason, name)


def abandoned(turn: Turn) -> list[AbandonTask]:
    found = map(decode_command, commands(turn))
    return [command for command in found if isinstance(command, AbandonTask)]


# -- one machine, by hand -----------------------------------------------------------------------


def test_who_failed_a_task_leaves_it_to_others_and_tries_again_after_a_while() -> None:
    desk = Desk()
    meet(desk)
    first = desk.begin(task("a"))
    assert invoked(fail(desk, first)) == []
    waited, second = next_start(desk)
    assert waited == CONFIG.leave_failed_ns
    assert invoked(fail(desk, second)) == []
    waited, _ = next_start(desk)
    assert waited == 2 * CONFIG.leave_failed_ns


def test_a_task_that_the_others_have_failed_as_often_is_left_to_nobody() -> None:
    desk = Desk()
    meet(desk)
    first = desk.begin(task("a"))
    fail(desk, first)
    started = invoked(hear_of_failure(desk, "a", Failure.VERIFY))
    waited = 0 if started else next_start(desk)[0]
    assert waited <= 2 * CONFIG.patience_ns + 100 * MILLISECOND


def test_who_fails_in_a_row_pauses_ever_longer_until_it_succeeds() -> None:
    desk = Desk()
    meet(desk)
    started = desk.begin(*(task(f"t{number}") for number in range(20)))
    pauses = []
    for _ in range(9):
        waited, started = fail_and_go_on(desk, started)
        pauses.append(waited // SECOND)
    assert pauses == [0, 0, 1, 2, 4, 8, 16, 30, 30]
    turn = desk.turn()
    desk.team.completed(turn, finished(started.invocation, *_files_of(started)))
    (started,) = invoked(desk.settle(turn))
    assert fail_and_go_on(desk, started)[0] < SECOND, "the count begins anew"


def test_who_is_alone_does_not_pause_when_it_fails_in_a_row() -> None:
    """Nobody else could do better with the attempts."""
    desk = Desk()
    started = desk.begin(task("a", attempts_max=50))
    for _ in range(49):
        (started,) = invoked(fail(desk, started))
    assert abandoned(fail(desk, started))


def pausing() -> tuple[Desk, Invoke]:
    """A node that has failed several times in a row, beside another; and what it does after its
    latest pause."""
    desk = Desk()
    meet(desk)
    started = desk.begin(*(task(f"t{number}") for number in range(20)))
    for _ in range(5):
        waited, started = fail_and_go_on(desk, started)
    assert waited >= 4 * SECOND
    return desk, started


def test_nobody_pauses_once_all_fail_in_a_row() -> None:
    desk, started = pausing()
    hear_of_failures(desk, Failure.VERIFY, "t17", "t18", "t19")
    for _ in range(5):
        waited, started = fail_and_go_on(desk, started)
        assert waited < SECOND


def test_who_is_the_only_one_left_for_a_task_does_not_pause() -> None:
    """A pause leaves attempts to those who do better (seed 3813)."""
    desk, started = pausing()
    assert invoked(fail(desk, started)) == []
    (only,) = invoked(hear_of_failure(desk, "t19", Failure.NO_PROGRAM))
    assert only.assignment.task.id == "t19"


def test_who_failed_while_all_did_pauses_only_shortly_once_another_succeeds() -> None:
    desk = Desk()
    meet(desk)
    started = desk.begin(*(task(f"t{number}", attempts_max=50) for number in range(20)))
    hear_of_failures(desk, Failure.VERIFY, "t17", "t18", "t19")
    for _ in range(9):
        _, started = fail_and_go_on(desk, started)
    made = AcceptResult("job", "t19", 0, ADA.node, 2, (File("t19", b""),), "", NO_USAGE)
    desk.commit(encode_command(made))
    waited, _ = fail_and_go_on(desk, started)
    assert waited // SECOND == 2, "as after the fourth failure, and not after the tenth"


def _files_of(started: Invoke) -> tuple[object, ...]:
    result = done(started.assignment)[1]
    return result.files


def test_what_was_tried_often_enough_is_not_begun_once_more() -> None:
    """Where failures are fast, the last of them may be known before the log gives the task up."""
    desk = Desk()
    meet(desk)
    desk.view = replace(desk.view, leader=ADA.node)
    first = desk.begin(task("a", attempts_max=2))
    fail(desk, first)
    hear_of_failure(desk, "a", Failure.VERIFY)
    with pytest.raises(AssertionError, match="nothing is started"):
        next_start(desk)


def test_who_leads_gives_up_what_was_tried_often_enough() -> None:
    """Nobody need have seen all failures when its own came."""
    desk = Desk()
    meet(desk)
    fail(desk, desk.begin(task("a", attempts_max=2)))
    (command,) = abandoned(hear_of_failure(desk, "a", Failure.AGENT))
    assert command.reason == "2 attempts failed, the last with agent: no"


def test_an_endpoint_that_is_away_uses_up_no_attempts() -> None:
    desk = Desk()
    started = desk.begin(task("a", attempts_max=2))
    pauses = []
    for _ in range(6):
        turn = fail(desk, started, Failure.UNREACHABLE)
        assert not abandoned(turn)
        waited, started = next_start(desk)
        pauses.append(waited // SECOND)
    assert pauses == [1, 2, 4, 8, 16, 30]
    assert started.assignment.notes == (), "a prompt has no use for that"
    turn = desk.turn()
    desk.team.completed(turn, finished(started.invocation, *_files_of(started)))
    desk.settle(turn)
    assert not desk.team.running


@pytest.mark.parametrize("was_reached", [False, True])
def test_an_outage_that_lasts_too_long_fails_the_task_and_names_the_endpoint(
    was_reached: bool,
) -> None:
    """An address that never was right is found out sooner."""
    desk = Desk()
    started = desk.begin(task("a", attempts_max=4))
    if was_reached:
        (started,) = invoked(fail(desk, started, Failure.VERIFY))
    began = desk.now
    while not (given_up := abandoned(fail(desk, started, Failure.UNREACHABLE))):
        _, started = next_start(desk)
    bound = CONFIG.outage_max_ns if was_reached else CONFIG.never_reached_max_ns
    assert bound < desk.now - began <= bound + CONFIG.pause_max_ns
    assert given_up[0].reason == f"the endpoint of the model is away: {ENDPOINT}"


def test_who_reaches_no_endpoint_for_long_leaves_the_task_to_others() -> None:
    desk = Desk(replace(CONFIG, never_reached_max_ns=0, leave_failed_ns=SECOND))
    meet(desk)
    started = desk.begin(task("a"))
    for _ in range(3):
        assert not abandoned(fail(desk, started, Failure.UNREACHABLE))
        _, started = next_start(desk)
    notes = desk.team.notes_of("job", "a")
    assert [note.reason for note in notes] == ["unreachable", "away", "away"]
    assert abandoned(hear_of_failure(desk, "a", Failure.AWAY)), "the other has none either"


def test_a_task_that_its_endpoint_cannot_bear_is_found_out() -> None:
    """In each outage but its first it counts once: other tasks succeed in between."""
    desk = Desk()
    tasks = [task("a", attempts_max=3), *(task(f"t{number}") for number in range(9))]
    started = desk.begin(*tasks)
    times = 0
    for _ in range(100):
        if started.assignment.task.id == "a":
            times += 1
            turn = fail(desk, started, Failure.UNREACHABLE)
            if given_up := abandoned(turn):
                assert given_up[0].reason.startswith("3 attempts failed, the last with backend")
                break
        else:
            turn = desk.turn()
            desk.team.completed(turn, finished(started.invocation, *_files_of(started)))
            turn = desk.settle(turn)
            desk.commit(commands(turn)[0])
        started = invoked(turn)[0] if invoked(turn) else next_start(desk)[1]
    assert times == 4


def test_an_outage_of_long_ago_is_over() -> None:
    desk = Desk()
    fail(desk, desk.begin(task("a")), Failure.UNREACHABLE)
    desk.team.running.clear()  # type: ignore[attr-defined]
    _, started = next_start(desk)
    desk.now += 2 * CONFIG.outage_max_ns
    assert not abandoned(fail(desk, started, Failure.UNREACHABLE))
    assert {note.reason for note in desk.team.notes_of("job", "a")} == {"unreachable", "backend"}


# -- a team in a small world --------------------------------------------------------------------


def with_a_bad_node(size: int, reason: Failure = Failure.AGENT) -> SmallWorld:
    """The last node's agents fail at once, each time."""
    small = SmallWorld(size)
    small.hosts[-1].agents = Scripted(
        lambda assignment: (
            20 * MILLISECOND,
            AgentFailed(0, reason, ENDPOINT, (), NO_USAGE),
        )
    )
    return small


@pytest.mark.parametrize("reason", [Failure.AGENT, Failure.UNREACHABLE])
@pytest.mark.parametrize("claims", ALL_MODES)
def test_one_node_that_always_fails_does_not_fail_a_job(claims: ClaimMode, reason: Failure) -> None:
    small = with_a_bad_node(3, reason)
    tasks = [task(f"t{number}", attempts_max=2) for number in range(20)]
    small.do(job(*tasks, claims=claims))
    assert all(fact.succeeded for _, _, fact in small.diary.of(JobFinished))
    failures = [fact.task for _, _, fact in small.diary.of(AttemptFailed)]
    assert failures, "it has tried"
    assert len(failures) == len(set(failures)), "and left to the others what it had failed"


@pytest.mark.parametrize("claims", [ClaimMode.LEASE, ClaimMode.RAFT, ClaimMode.LEADER])
def test_a_node_that_always_fails_is_spared(claims: ClaimMode) -> None:
    small = with_a_bad_node(3)
    small.do(job(*(task(f"t{number}") for number in range(40)), claims=claims))
    failures = small.diary.of(AttemptFailed)
    assert len(failures) <= 8, "in some 10 s: at once, at once, at once, after 1 s, 2 s, 4 s"


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("claims", ALL_MODES)
def test_a_job_in_which_everything_fails_says_so_soon(claims: ClaimMode, size: int) -> None:
    small = SmallWorld(size, lambda assignment: failed(Failure.AGENT))
    small.do(job(*(task(f"t{number}") for number in range(20)), claims=claims), 40 * SECOND)
    reasons = {fact.reason for _, _, fact in small.diary.of(TaskAbandoned)}
    assert reasons == {"5 attempts failed, the last with agent: it did not work"}


@pytest.mark.parametrize("claims", ALL_MODES)
def test_a_node_alone_tries_as_often_as_it_may_and_says_so(claims: ClaimMode) -> None:
    small = SmallWorld(1, lambda assignment: failed())
    small.do(job(task("a"), claims=claims))
    assert len(small.diary.of(AttemptFailed)) == 5
    (ended,) = small.diary.of(TaskAbandoned)
    assert ended[2].reason == "5 attempts failed, the last with verify: it did not work"


@pytest.mark.parametrize("claims", ALL_MODES)
@pytest.mark.parametrize("size", [1, 3])
def test_a_model_that_comes_back_finds_the_job_waiting(size: int, claims: ClaimMode) -> None:
    """Attempts in the outage do not count, and nobody storms the endpoint."""
    small = SmallWorld(size)
    back_at = small.world.now + 60 * SECOND

    def ask(assignment: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
        return failed(Failure.UNREACHABLE) if small.world.now < back_at else done(assignment)

    small.agents.script = ask
    tasks = [task(name, attempts_max=1) for name in "abcd"]
    small.do(job(*tasks, claims=claims))
    assert all(fact.succeeded for _, _, fact in small.diary.of(JobFinished))
    rounds = 4  # of all tasks that a node may try meanwhile, each after a longer pause
    assert len(small.diary.of(AttemptFailed)) <= rounds * size * len(tasks)
    assert small.world.now <= back_at + 35 * SECOND


@pytest.mark.parametrize("claims", ALL_MODES)
def test_a_model_that_is_nowhere_ends_the_job(claims: ClaimMode) -> None:
    small = SmallWorld(3, lambda assignment: failed(Failure.UNREACHABLE))
    small.do(job(task("a"), claims=claims), within=240 * SECOND)
    reasons = {fact.reason for _, _, fact in small.diary.of(TaskAbandoned)}
    assert len(reasons) == 1
    assert "away: it did not work" in reasons.pop()


@pytest.mark.parametrize("lacks", [Failure.NO_PROGRAM, Failure.NO_MODEL])
@pytest.mark.parametrize("claims", ALL_MODES)
def test_who_has_not_got_what_it_takes_leaves_a_task_to_who_has(
    claims: ClaimMode, lacks: Failure
) -> None:
    small = SmallWorld(3, lambda assignment: failed(lacks))
    small.hosts[-1].agents = Scripted()
    small.do(job(*(task(f"t{number}", attempts_max=1) for number in range(6)), claims=claims))
    assert all(fact.succeeded for _, _, fact in small.diary.of(JobFinished))
    tried = [(number, fact.task) for _, number, fact in small.diary.of(AttemptFailed)]
    assert tried, "who has it not finds out by trying"
    assert len(tried) == len(set(tried)), "and tries each task once"


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("claims", ALL_MODES)
def test_a_model_that_no_node_may_ask_ends_a_job_soon(claims: ClaimMode, size: int) -> None:
    small = SmallWorld(size, lambda assignment: failed(Failure.NO_MODEL))
    small.do(job(*(task(f"t{number}") for number in range(20)), claims=claims), 20 * SECOND)
    reasons = {fact.reason for _, _, fact in small.diary.of(TaskAbandoned)}
    assert reasons == {"no node can run it: it did not work"}
    tried = [(number, fact.task) for _, number, fact in small.diary.of(AttemptFailed)]
    assert len(tried) == len(set(tried)) == 20 * size


@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("claims", ALL_MODES)
def test_a_program_that_no_node_has_is_given_up_when_each_has_said_so(
    claims: ClaimMode, slots: int
) -> None:
    small = SmallWorld(3, lambda assignment: failed(Failure.NO_PROGRAM))
    quorum = Quorum(slots, slots // 2 + 1)
    small.do(job(task("a", quorum=quorum), task("b", quorum=quorum), claims=claims))
    reasons = {fact.reason for _, _, fact in small.diary.of(TaskAbandoned)}
    assert reasons == {"no node can run it: it did not work"}
    tried = [(number, fact.task) for _, number, fact in small.diary.of(AttemptFailed)]
    assert sorted(tried) == [(number, name) for number in range(3) for name in "ab"]
    begun = min(at for at, _, _ in small.diary.of(TaskStarted))
    ended = max(at for at, _, _ in small.diary.of(JobFinished))
    assert ended - begun < 3 * SECOND, "nobody pauses for it"


@pytest.mark.parametrize("attempts_max", [1, 4])
def test_fast_failures_do_not_exceed_the_bound_by_far(attempts_max: int) -> None:
    """Only who has not heard of a failure yet begins once more."""
    small = SmallWorld(5, lambda assignment: (0, failed()[1]))
    tasks = [task(f"t{number}", attempts_max=attempts_max) for number in range(12)]
    small.do(job(*tasks), within=600 * SECOND)  # what one has failed it leaves to others for long
    assert len(small.diary.of(TaskStarted)) <= 12 * attempts_max + 12


def test_independent_answers_are_not_left_to_those_who_have_answered() -> None:
    small = SmallWorld(3)
    begun: list[int] = []

    def fail_once(assignment: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
        begun.append(assignment.slot)
        return failed() if begun == [assignment.slot] else done(assignment, SECOND // 20)

    small.agents.script = fail_once
    before = small.world.now
    small.do(job(task("a", quorum=Quorum(3, 2))))
    assert small.world.now - before < CONFIG.leave_failed_ns
    assert small.diary.of(TaskAccepted)


@pytest.mark.parametrize("claims", ALL_MODES)
def test_who_fails_again_and_again_does_not_keep_an_answer_back(claims: ClaimMode) -> None:
    """A judge needs all three, and only two nodes can give any."""
    small = with_a_bad_node(3)

    def answer_or_judge(assignment: Assignment) -> tuple[Nanoseconds, Completed]:
        if assignment.proposals:
            return SECOND // 10, Completed(0, (), "0 0 0", NO_USAGE)
        return done(assignment)

    small.agents.script = answer_or_judge
    small.do(job(task("a", quorum=Quorum(3, 2, Compare.JUDGE)), claims=claims))
    assert all(fact.succeeded for _, _, fact in small.diary.of(JobFinished))


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("claims", ALL_MODES)
def test_who_lacks_the_program_does_not_keep_an_answer_back(claims: ClaimMode, size: int) -> None:
    """It leaves the task alone for good, so one of the others answers twice."""
    small = with_a_bad_node(size, Failure.NO_PROGRAM)
    small.do(job(task("a", quorum=Quorum(size, size)), claims=claims))
    assert all(fact.succeeded for _, _, fact in small.diary.of(JobFinished))


@pytest.mark.parametrize("claims", ALL_MODES)
def test_nobody_waits_for_an_answer_of_who_fails_whatever_it_does(claims: ClaimMode) -> None:
    small = with_a_bad_node(3)
    small.do(job(*(task(f"t{number}") for number in range(9)), claims=claims))
    failed = [number for _, number, _ in small.diary.of(AttemptFailed)]
    assert len(failed) >= CONFIG.failures_in_a_row
    assert set(failed) == {2}
    before = small.world.now
    small.do(replace(job(task("q", quorum=Quorum(3, 3)), claims=claims), id="later"))
    assert small.world.now - before < 3 * SECOND


@pytest.mark.parametrize("claims", ALL_MODES)
def test_independent_answers_come_from_different_nodes(claims: ClaimMode) -> None:
    """Even if one of them is at work for long, and the others have nothing to do."""
    small = SmallWorld(3, lambda given: done(given, (8 if given.task.id == "t" else 1) * SECOND))
    tasks = (task("t", weight=9.0), task("first"), task("q", "first", quorum=Quorum(3, 3)))
    small.do(job(*tasks, claims=claims))
    nodes = {number for _, number, fact in small.diary.of(TaskStarted) if fact.task == "q"}
    assert nodes == {0, 1, 2}


def test_a_judge_whose_model_is_away_judges_later() -> None:
    small = SmallWorld(1)
    back_at = small.world.now + 60 * SECOND

    def ask(assignment: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
        if not assignment.proposals:
            return done(assignment)
        if small.world.now < back_at:
            return failed(Failure.UNREACHABLE)
        return SECOND // 10, Completed(0, (), "0 0", NO_USAGE)

    small.agents.script = ask
    small.do(job(task("a", quorum=Quorum(2, 2, Compare.JUDGE), attempts_max=2)))
    state = small.hosts[0].peer.ledger.jobs["job"].tasks["a"]  # type: ignore[union-attr]
    assert state.judge == small.hosts[0].identity.node, "a model was asked, and answered"


# -- drawn ----------------------------------------------------------------------------------------


def test_the_simulator_draws_bad_nodes_and_outages() -> None:
    works = [draw(seed).work for seed in range(60)]
    assert 0 < sum(work.bad for work in works) < 20
    assert 0 < sum(work.outage_ns > 0 for work in works) < 30
    work = replace(PLAIN, bad=True, outage_ns=8 * SECOND)
    diary = Diary()
    outcome = Run(replace(draw(1), nodes=3, work=work, faults=()), watchers=(diary,)).execute()
    assert outcome.verdict is Verdict.HELD, outcome.summary()
    assert {fact.reason for _, _, fact in diary.of(AttemptFailed)} == {"unreachable", "verify"}
    assert all(fact.succeeded for _, _, fact in diary.of(JobFinished))
