"""What an answer has used is counted once, whoever tells of it: its maker, or who finishes it."""

from __future__ import annotations

from dataclasses import replace

from ledger_hand import job, task
from team_hand import SELF, Desk, commands, invoked

from protocol import claims, codec
from protocol.claims import Claim, Phase
from protocol.clocks import SECOND
from protocol.effects import Invoke, Proposal, Purpose
from protocol.events import AgentFailed, AnswerMade, Completed, Failure
from protocol.identity import Identity
from protocol.jobs import NO_USAGE, SHARES_MAX, Budget, File, Job, Share, Task, Usage, VerifyBy
from protocol.ledger import AbandonTask, AcceptResult, decode_command, encode_command
from protocol.store import Store
from protocol.team import View
from protocol.team.costs import costs_of, spent_on
from protocol.team.parts import Parts
from protocol.turn import Turn

USED = Usage(1, 700, 30)
FILES = (File("f", b"x"),)
UNIT = ("job", "a", 0)
OTHER = Identity(b"a" * 32)
CHECKED = Usage(1, 7, 0)  # a check of which the agent says that it used something, too


def tight(claimed: Task) -> Job:
    """A job that what was used is enough for, but not twice."""
    return replace(job(claimed, task("b", "a")), budget=Budget(tokens=1_000))


def written(**options: object) -> Task:
    return replace(task("a"), writes=("f",), **options)  # type: ignore[arg-type]


def complete(desk: Desk, begun: Invoke, usage: Usage) -> list[AcceptResult]:
    """The attempt has its result; what comes into the log of that."""
    turn = desk.turn()
    desk.team.completed(turn, Completed(begun.invocation, FILES, "done", usage))
    results = []
    for each in commands(desk.settle(turn)):
        desk.commit(each)
        command = decode_command(each)
        if isinstance(command, AcceptResult):
            results.append(command)
    return results


def spent(desk: Desk) -> Usage:
    return spent_on(desk.ledger.jobs["job"], desk.team.notes)


def given_up(desk: Desk) -> list[AbandonTask]:
    """What the leader gives up within some seconds."""
    told = [decode_command(each) for _ in range(3) for each in commands(desk.wait(SECOND))]
    return [each for each in told if isinstance(each, AbandonTask)]


def test_who_is_stopped_while_its_answer_is_checked_is_counted_once() -> None:
    """It notes what it used, and what it has made tells the same."""
    desk = Desk()
    (begun,) = begin(desk, tight(written(agent="command", program="x")))
    desk.now += SECOND
    turn = desk.turn()
    desk.team.answer_made(turn, AnswerMade(begun.invocation, FILES, "done", USED))
    desk.settle(turn)
    turn = desk.turn()
    desk.team.let_go(turn, "this node stops")
    stopped = AgentFailed(begun.invocation, Failure.ABORTED, "this node stops", (), USED)
    desk.team.agent_failed(turn, stopped)
    desk.settle(turn)
    assert spent(desk) == USED
    (again,) = invoked(desk.restart())
    assert again.assignment.purpose is Purpose.FINISH
    (result,) = complete(desk, again, NO_USAGE)
    assert result.before == (Share(SELF.node, begun.assignment.token, USED),)
    assert spent(desk) == USED
    assert given_up(desk) == []


def test_the_result_of_who_was_cut_off_is_counted_once() -> None:
    """Another has finished its answer meanwhile; then its own comes into the log, late."""
    desk = Desk()
    desk.view = View(frozenset({SELF.node, OTHER.node}), frozenset(), SELF.node)
    store, told = Store(OTHER, "team", 1_000), Turn(0, 0, 1)
    Parts(OTHER.node, store).write(told, UNIT, 1, FILES, {})
    Parts(OTHER.node, store).finish(told, UNIT, 1, Proposal(FILES, "done"), USED)
    (command,) = commands(desk.submit(tight(written())))
    claim = codec.pack_value(Claim(OTHER.node, 1, Phase.WORKING))
    writes = [(claims.claim_key(UNIT), claim), *told.writes]
    desk.store.merge(store.write(writes, 1)[0])
    for key, _ in writes:
        desk.team.hearing.learn_key(desk.turn(), key, desk.now)
    desk.commit(command)
    desk.view = View(frozenset({SELF.node}), frozenset({OTHER.node}), SELF.node)
    turn = desk.wait(15 * SECOND)
    for each in commands(turn):
        desk.commit(each)
    (begun,) = invoked(turn)
    assert begun.assignment.purpose is Purpose.FINISH
    complete(desk, begun, CHECKED)
    assert spent(desk) == USED.plus(CHECKED)
    late = AcceptResult(*UNIT, OTHER.node, 1, FILES, "done", USED)
    desk.commit(encode_command(late))
    assert len(desk.ledger.jobs["job"].tasks["a"].late) == 1
    assert spent(desk) == USED.plus(CHECKED)
    assert sorted(costs_of(desk.ledger.jobs["job"], desk.team.notes)) == sorted(
        [("a", OTHER.node, USED), ("a", SELF.node, CHECKED)]
    )
    assert given_up(desk) == []


def test_who_is_killed_while_its_result_waits_for_a_word_is_counted_once() -> None:
    """It hands in again what it has made, and both wait."""
    desk = Desk()
    desk.view = View(frozenset({SELF.node, OTHER.node}), frozenset(), OTHER.node)
    (begun,) = begin(desk, job(written(verify="true", verify_by=VerifyBy.OTHER)))
    desk.now += SECOND
    complete(desk, begun, USED)
    desk.now += SECOND
    again = invoked(desk.restart())
    for _ in range(40):
        again = again or invoked(desk.wait(SECOND))
    complete(desk, again[0], NO_USAGE)
    assert len(desk.ledger.jobs["job"].tasks["a"].slots[0].candidates) == 2
    assert spent(desk) == USED


def test_what_a_peer_tells_of_earlier_attempts_has_a_bound() -> None:
    desk = Desk()
    begin(desk, job(written()))
    many = tuple(Share(OTHER.node, token, USED) for token in range(1, 3 * SHARES_MAX))
    desk.commit(encode_command(AcceptResult(*UNIT, OTHER.node, 99, FILES, "", USED, many)))
    accepted = desk.ledger.jobs["job"].tasks["a"].accepted
    assert accepted is not None
    assert accepted.before == many[-SHARES_MAX:]


def begin(desk: Desk, submitted: Job) -> list[Invoke]:
    (command,) = commands(desk.submit(submitted))
    begun = invoked(desk.commit(command))
    for _ in range(10):
        begun = begun or invoked(desk.wait(SECOND))
    return begun
