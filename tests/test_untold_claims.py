"""Claims that nobody need hear of: where tasks are over in no time and there is plenty, each node
takes what suits it best, and tells of it only if that takes longer than a moment."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ledger_hand import job, task
from small_world import SmallWorld, done
from team_hand import CONFIG, SELF, Desk, finished, invoked

from protocol import claims, codec
from protocol.claims import CATCH_UP_NS, Claim, ClaimBook, Phase, claim_key
from protocol.clocks import SECOND
from protocol.effects import Abort
from protocol.events import AgentFailed, Failure
from protocol.facts.work import ClaimLost, JobFinished, TaskStarted
from protocol.identity import Identity, NodeId
from protocol.jobs import NO_USAGE, File, Quorum, VerifyBy
from protocol.ledger import AcceptResult, SubmitJob, encode_command, retention
from protocol.store import Store
from protocol.team import View
from protocol.turn import Turn

UNIT = ("job", "a", 0)


class Hurried(Desk):
    """It knows that the job's tasks are over in no time."""

    def __init__(self) -> None:
        super().__init__()
        self.team.book.hear_of("job", -CATCH_UP_NS)
        for number in range(3):
            self.team.book.answered(("job", f"x{number}", 0), SELF.node, 1, 0)


@pytest.mark.parametrize(("desk", "told"), [(Desk(), 1), (Hurried(), 0)])
def test_only_what_is_over_in_no_time_is_not_told_of_at_once(desk: Desk, told: int) -> None:
    desk.begin(task("a"), task("z"))
    assert len(desk.store.scan("claim/")) == told


def test_where_little_is_left_all_is_told_of() -> None:
    desk = Hurried()
    desk.begin(task("a"))
    assert len(desk.store.scan("claim/")) == 1


def test_a_claim_that_nobody_disputes_is_told_when_the_work_takes_longer() -> None:
    desk = Hurried()
    desk.begin(task("a"), task("z"))
    before = desk.store.last_of(SELF.node)
    desk.wait(CONFIG.tell_ns - 1)
    assert desk.store.last_of(SELF.node) == before
    assert desk.team.holder_of(("job", "a", 0)) == SELF.node
    desk.wait(1)
    assert desk.store.last_of(SELF.node) == before + 1
    desk.wait(CONFIG.renew_ns - 1)
    assert desk.store.last_of(SELF.node) == before + 1
    desk.wait(1)
    assert desk.store.last_of(SELF.node) == before + 2, "it is renewed like any other"


def test_a_result_that_the_log_is_slow_to_take_is_told_of_as_well() -> None:
    """Else the others would begin it anew, for instance in a minority."""
    desk = Hurried()
    first = desk.begin(task("a"), *(task(f"t{number}") for number in range(4)))
    turn = desk.turn()
    desk.team.completed(turn, finished(first.invocation))
    desk.settle(turn)
    before = desk.store.last_of(SELF.node)
    assert before == 0
    desk.wait(CONFIG.tell_ns)
    assert desk.store.read(claim_key(("job", first.assignment.task.id, 0)))


def test_what_suits_another_best_is_left_to_it_after_there_was_plenty() -> None:
    """It may be at work on it, and not have told."""
    world = SmallWorld(3, lambda assignment: done(assignment, SECOND // 10), seed=3)
    world.do(job(*(task(f"t{number}") for number in range(30))))
    lost = world.diary.of(ClaimLost)
    assert len(lost) <= 1, lost


def test_what_takes_long_is_begun_once_though_all_fall_idle_at_once() -> None:
    world = SmallWorld(3, lambda assignment: done(assignment, 6 * SECOND // 10), seed=3)
    world.do(job(*(task(f"t{number}") for number in range(36))))
    assert len(world.diary.of(TaskStarted)) <= 36 + 1


def test_where_all_wait_for_all_the_next_are_shared_out_without_anybody_waiting() -> None:
    """Eight layers of as many tasks as there are nodes, each of which needs all of the layer
    before."""
    world = SmallWorld(8, lambda assignment: done(assignment, SECOND // 20))
    layers = [[f"l{layer}-{number}" for number in range(8)] for layer in range(8)]
    before: list[list[str]] = [[], *layers]
    begun = world.world.now
    world.do(job(*(task(name, *before[i]) for i, layer in enumerate(layers) for name in layer)))
    ended = max(at for at, _, _ in world.diary.of(JobFinished))
    assert len(world.diary.of(TaskStarted)) <= 64 + 2
    assert ended - begun < 0.7 * SECOND, "ideally .4 seconds"


def test_a_unit_of_a_quick_job_that_suits_is_found_further_on() -> None:
    desk, nodes = Hurried(), frozenset({SELF.node, *(NodeId(f"n{number}") for number in range(3))})
    desk.view = View(nodes, frozenset(), SELF.node)
    names = [f"t{number}" for number in range(200)]
    others = [name for name in names if claims.suited_best(("job", name, 0), nodes) != SELF.node]
    own = [name for name in names if name not in others]
    first = desk.begin(*(task(name) for name in [*others[: 4 * len(nodes)], own[0], *own[1:2]]))
    assert first.assignment.task.id == own[0]


def test_who_was_away_during_a_job_learns_nothing_of_how_long_its_tasks_took() -> None:
    book = ClaimBook()
    book.hear_of("job", 0)
    for number in range(9):
        book.answered(("job", f"t{number}", 0), SELF.node, 1, CATCH_UP_NS - 1)
    assert book.duration("job", 90) is None
    for number in range(9):
        book.answered(("job", f"t{number}", 0), SELF.node, 1, CATCH_UP_NS)
    assert book.duration("job", 90) == 0
    assert book.is_quick("job", 1)


def test_one_attempt_counts_once_and_what_was_carried_over_never() -> None:
    desk = Desk()
    tasks = (task("a"), task("b"), task("z"))
    desk.begin(*tasks)
    desk.now += SECOND
    for name in ("a", "b"):
        desk.commit(encode_command(accepted(name)))
        desk.commit(encode_command(accepted(name)))
    assert len(desk.team.book._durations["job"]) == 2
    again = replace(job(*tasks, name="again"), resumes="job")
    desk.now += SECOND
    desk.commit(encode_command(SubmitJob(again, (), desk.now)))
    assert len(desk.ledger.jobs["again"].tasks["a"].answers) == 1
    assert "again" not in desk.team.book._durations


def accepted(name: str, node: NodeId = SELF.node, token: int = 1) -> AcceptResult:
    return AcceptResult("job", name, 0, node, token, (File(name, b""),), "done", NO_USAGE)


def test_a_token_of_an_earlier_life_is_not_used_again() -> None:
    """Nobody was told of its claim, but the log has its result, which another node has to check."""
    desk = Hurried()
    reviewed = replace(task("a"), verify="true", verify_by=VerifyBy.OTHER)
    first = desk.begin(reviewed, task("y"), task("z"))
    assert (first.assignment.task.id, desk.store.scan("claim/")) == ("a", [])
    desk.commit(encode_command(accepted("a")))
    (other,) = invoked(desk.restart())
    assert other.assignment.task.id == "y", "the first waits for somebody's word"
    desk.commit(encode_command(refuted("a")))
    (stop,) = (e for e in desk.commit(encode_command(accepted("y"))).before if isinstance(e, Abort))
    turn = desk.turn()
    failure = AgentFailed(stop.invocation, Failure.ABORTED, "", (), NO_USAGE)
    desk.team.agent_failed(turn, failure)
    (again,) = invoked(desk.settle(turn))
    assert (again.assignment.task.id, again.assignment.token) == ("a", 2)


def refuted(name: str) -> object:
    from protocol.ledger import ReviewResult

    return ReviewResult("job", name, 0, SELF.node, 1, NodeId("other"), "wrong")


def test_who_gave_up_does_not_take_a_unit_from_who_works_on_it() -> None:
    desk = Hurried()
    first = desk.begin(task("a"), task("z"))
    unit = ("job", first.assignment.task.id, 0)
    turn = learn(desk, unit, Phase.RELEASED)
    assert not any(isinstance(effect, Abort) for effect in turn.before)
    assert desk.store.read(claim_key(unit)), "and it says that it does"


def test_of_two_that_began_at_once_the_same_wins_as_if_both_had_told() -> None:
    for number in range(8):
        desk = Hurried()
        first = desk.begin(task("a"), task("z"))
        unit = ("job", first.assignment.task.id, 0)
        other = Identity(bytes([number]) * 32)
        turn = learn(desk, unit, Phase.WORKING, other)
        loses = claims.score(unit, other.node) > claims.score(unit, SELF.node)
        assert any(isinstance(effect, Abort) for effect in turn.before) == loses


def learn(desk: Desk, unit: tuple[str, str, int], phase: Phase, by: Identity | None = None) -> Turn:
    """Another node's claim comes, under the first token."""
    other = by or Identity(b"o" * 32)
    claim = codec.pack_value(Claim(other.node, 1, phase))
    batches, _ = Store(other, "team", 10).write([(claim_key(unit), claim)], 0)
    turn = desk.turn()
    desk.store.merge(batches)
    desk.team.dirty |= desk.team.hearing.learn_key(turn, claim_key(unit), desk.now)
    return desk.settle(turn)


def test_independent_answers_suit_different_nodes() -> None:
    nodes = frozenset(NodeId(f"n{number}") for number in range(3))
    for name in map(str, range(20)):
        best = {claims.suited_best(("job", name, slot), nodes) for slot in range(3)}
        assert best == nodes


def test_quorums_are_shared_out_without_anybody_waiting() -> None:
    world = SmallWorld(2, lambda given: done(given, SECOND // 20))
    tasks = (task(f"t{number}", quorum=Quorum(2, 2)) for number in range(20))
    begun = world.world.now
    world.do(job(*tasks))
    ended = max(at for at, _, _ in world.diary.of(JobFinished))
    assert ended - begun < 1.3 * SECOND, "ideally one second"
    assert len(world.diary.of(TaskStarted)) == 40


def test_who_starts_again_reads_of_jobs_that_were_forgotten_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retention, "JOBS_MAX", 3)
    world = SmallWorld(3)
    for number in range(6):
        world.do(job(task("a"), name=f"job-{number}"))
    host = world.hosts[1]
    host.crash()
    host.start_again()
    world.run(5 * SECOND)
    assert host.peer is not None
    assert list(host.peer.ledger.jobs) == ["job-3", "job-4", "job-5"]
    assert host.is_up
