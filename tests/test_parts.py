"""Parts: what attempts have written so far is kept by job, task, slot and path."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from ledger_hand import job, task
from small_world import SmallWorld
from team_hand import CONFIG, SELF, Desk, finished, invoked

from node.doors.versions import siblings_view, versions_view
from protocol import codec
from protocol.claims import Finished, Partial, finished_key, part_key
from protocol.clocks import SECOND
from protocol.effects import Invoke, Proposal, Purpose
from protocol.events import (
    AgentFailed,
    AnswerMade,
    Completed,
    Failure,
    Progressed,
    WrittenSoFar,
)
from protocol.identity import Identity
from protocol.jobs import NO_USAGE, File, Job, Quorum, Speculation, Task, Usage, VerifyBy
from protocol.ledger import AcceptResult, ReviewResult, encode_command
from protocol.store import Store
from protocol.team.parts import Made


def writer(name: str, *needs: str) -> Task:
    """A task that writes the file f, as others do."""
    return replace(task(name, *needs), writes=("f",))


def begin_all(desk: Desk, *tasks: Task) -> list[Invoke]:
    """Submit a job, of which as many attempts start as the node has slots."""
    turn = desk.submit(job(*tasks))
    ((_, command),) = turn.proposals
    return invoked(desk.commit(command))


def share(desk: Desk, begun: Invoke, content: bytes, path: str = "f") -> None:
    turn = desk.turn()
    desk.team.progressed(turn, Progressed(begun.invocation, (File(path, content),)))
    desk.settle(turn)


def retry(desk: Desk, begun: Invoke, why: str = "no") -> Invoke:
    """The attempt fails, and the next one at the same slot starts."""
    turn = desk.turn()
    desk.team.agent_failed(turn, AgentFailed(begun.invocation, Failure.AGENT, why, (), NO_USAGE))
    (again,) = invoked(desk.settle(turn))
    return again


def test_three_tasks_that_write_one_file_keep_three_versions_of_it() -> None:
    """A node that worked for two of them had seen its own version, and so replaced it."""
    desk = Desk(replace(CONFIG, slots=3, failures_in_a_row=9))  # it goes on at once
    begun = begin_all(desk, writer("a"), writer("b"), writer("c"))
    for each in begun:
        share(desk, each, each.assignment.task.id.encode())
    for each in begun:
        again = retry(desk, each)
        assert again.assignment.task == each.assignment.task
        assert again.assignment.partial == (File("f", each.assignment.task.id.encode()),)


def test_answers_in_two_slots_keep_what_each_has_written() -> None:
    desk = Desk(replace(CONFIG, slots=2))
    begun = begin_all(desk, replace(writer("a"), quorum=Quorum(2, 2)))
    for each in begun:
        share(desk, each, b"%d" % each.assignment.slot)
    for each in begun:
        again = retry(desk, each)
        assert again.assignment.slot == each.assignment.slot
        assert again.assignment.partial == (File("f", b"%d" % each.assignment.slot),)


def test_a_successor_gets_all_files_of_its_slot() -> None:
    desk = Desk()
    (begun,) = begin_all(desk, replace(task("a"), writes=("f", "g", "h")))
    share(desk, begun, b"1", "f")
    share(desk, begun, b"2", "g")
    share(desk, begun, b"3", "f")
    assert retry(desk, begun).assignment.partial == (File("f", b"3"), File("g", b"2"))


def test_why_one_answer_failed_is_not_told_to_those_that_answer_independently() -> None:
    desk = Desk(replace(CONFIG, slots=2))
    begun = begin_all(desk, replace(writer("a"), quorum=Quorum(2, 2)))
    for each in begun:
        again = retry(desk, each, f"it said {each.assignment.slot}")
        assert again.assignment.slot == each.assignment.slot
        assert again.assignment.notes == (f"agent: it said {each.assignment.slot}",)


# -- as `quorate diff` is told of them -------------------------------------------------------------


def world_with_parts(tasks: Job, *contents: bytes) -> SmallWorld:
    """A team in which the attempts at a job have written so far what is said here."""
    world = SmallWorld(len(contents), lambda given: (1_000 * SECOND, finished(0)))
    world.submit(tasks)
    world.run(5 * SECOND)
    hosts = [host for host in world.hosts if host.peer and host.peer.team.running]
    assert len(hosts) == len(contents), "each node has one attempt"
    for host, content in zip(hosts, contents, strict=True):
        assert host.peer is not None
        (number,) = host.peer.team.running
        host.take(Progressed(number, (File("f", content),)))
        world.run(SECOND)  # whoever writes next has seen it
    return world


def test_three_concurrent_versions_of_a_file_are_all_told() -> None:
    world = world_with_parts(job(writer("a"), writer("b"), writer("c")), b"1", b"2", b"3")
    for host in world.hosts:
        assert host.peer is not None
        view = versions_view(host.peer, host.peer.ledger.jobs["job"], "f")
        assert sorted(part["content"] for part in view["partials"]) == ["1", "2", "3"]
        assert sorted(part["task"] for part in view["partials"]) == ["a", "b", "c"]


@pytest.mark.parametrize(("contents", "siblings"), [((b"1", b"1"), 0), ((b"1", b"2"), 1)])
def test_equal_versions_are_no_siblings(contents: tuple[bytes, bytes], siblings: int) -> None:
    """Of two that race, each writes without having seen what the other has written."""
    world = SmallWorld(2, lambda given: (1_000 * SECOND, finished(0)))
    world.submit(replace(job(writer("a")), speculation=Speculation(1, percentile=0)))
    world.run(5 * SECOND)
    for host, content in zip(world.hosts, contents, strict=True):
        assert host.peer is not None
        (number,) = host.peer.team.running
        host.take(Progressed(number, (File("f", content),)))
    world.run(SECOND)
    for host in world.hosts:
        assert host.peer is not None
        state = host.peer.ledger.jobs["job"]
        assert len(versions_view(host.peer, state, "f")["partials"]) == 2
        assert len(siblings_view(host.peer, state)) == siblings


def test_what_two_tasks_make_of_a_file_is_no_sibling() -> None:
    world = world_with_parts(job(writer("a"), writer("b")), b"1", b"2")
    for host in world.hosts:
        assert host.peer is not None
        assert siblings_view(host.peer, host.peer.ledger.jobs["job"]) == []


# -- what is not finished --------------------------------------------------------------------------


def keep(desk: Desk, begun: Invoke, *keeps: File, files: tuple[File, ...] = ()) -> None:
    turn = desk.turn()
    desk.team.written_so_far(turn, WrittenSoFar(begun.invocation, files, keeps))
    desk.settle(turn)


def test_a_successor_gets_what_was_written_so_far_and_what_was_kept() -> None:
    desk = Desk()
    (begun,) = begin_all(desk, writer("a"))
    keep(desk, begun, File(".partial/at", b"7"), files=(File("f", b"half"),))
    expected = (File("f", b"half"), File(".partial/at", b"7"))
    assert retry(desk, begun).assignment.partial == expected
    desk.restart()
    (again,) = desk.team.running.values()
    assert desk.team.parts.of(again.unit, desk.ledger.jobs["job"].tasks["a"]) == expected


def test_what_is_kept_no_more_is_not_found_by_a_successor() -> None:
    desk = Desk()
    (begun,) = begin_all(desk, writer("a"))
    keep(desk, begun, File(".partial/one", b"1"), File(".partial/two", b"2"))
    keep(desk, begun, File(".partial/two", b"22"))
    again = retry(desk, begun)
    assert again.assignment.partial == (File(".partial/two", b"22"),)
    keep(desk, again)
    assert retry(desk, again).assignment.partial == ()


def test_what_a_successor_leaves_as_it_was_is_not_told_again() -> None:
    desk = Desk()
    (begun,) = begin_all(desk, writer("a"))
    keep(desk, begun, File(".partial/at", b"7"), files=(File("f", b"half"),))
    again = retry(desk, begun)
    turn = desk.turn()
    kept = (File(".partial/at", b"7"), File(".partial/f", b"half"))
    desk.team.written_so_far(turn, WrittenSoFar(again.invocation, (), kept))
    assert turn.writes == []


@pytest.mark.parametrize("path", ["f", "../f", ".partial/../../f", ".partial", ".partial/"])
def test_nothing_is_kept_outside_of_its_folder(path: str) -> None:
    desk = Desk()
    (begun,) = begin_all(desk, task("a"))
    keep(desk, begun, File(path, b"x"))
    assert retry(desk, begun).assignment.partial == ()


# -- answers that are made, and not yet accepted ---------------------------------------------------


USED = Usage(1, 700, 30)


def make(
    desk: Desk, begun: Invoke, content: bytes = b"all", after: int = SECOND, used: Usage = USED
) -> None:
    """The agent has its answer, which is not checked yet."""
    desk.now += after
    turn = desk.turn()
    made = AnswerMade(begun.invocation, (File("f", content),), "done", used)
    desk.team.answer_made(turn, made)
    desk.settle(turn)


def begun_anew(desk: Desk) -> Invoke:
    """The node is killed, and comes back."""
    (again,) = invoked(desk.restart())
    return again


def test_an_answer_that_was_made_is_checked_after_a_restart_and_not_made_again() -> None:
    desk = Desk()
    (begun,) = begin_all(desk, writer("a"))
    make(desk, begun)
    again = begun_anew(desk)
    assert again.assignment.purpose is Purpose.FINISH
    assert again.assignment.proposals == (Proposal((File("f", b"all"),), "done"),)
    turn = desk.turn()
    desk.team.completed(turn, Completed(again.invocation, (File("f", b"all"),), "done", NO_USAGE))
    ((_, command),) = desk.settle(turn).proposals
    desk.commit(command)
    accepted = desk.ledger.jobs["job"].tasks["a"].accepted
    assert accepted is not None
    assert accepted.took == USED, "who made it tells nobody any more"


def test_an_answer_that_was_handed_in_and_is_in_no_log_is_handed_in_again() -> None:
    desk = Desk()
    (begun,) = begin_all(desk, writer("a"))
    desk.now += SECOND
    turn = desk.turn()
    desk.team.completed(turn, Completed(begun.invocation, (File("f", b"all"),), "done", USED))
    desk.settle(turn)
    assert begun_anew(desk).assignment.purpose is Purpose.FINISH


def test_an_answer_that_fails_its_check_is_made_anew() -> None:
    desk = Desk()
    (begun,) = begin_all(desk, writer("a"))
    make(desk, begun)
    again = begun_anew(desk)
    third = retry(desk, again)
    assert third.assignment.purpose is Purpose.WORK
    assert third.assignment.partial == (File("f", b"all"),)
    assert desk.team.notes.usage("job") == USED
    assert begun_anew(desk).assignment.purpose is Purpose.WORK


@pytest.mark.parametrize("answers", [1, 3])
@pytest.mark.parametrize("again", [False, True])
def test_an_answer_that_could_not_be_checked_is_for_others_to_check(
    answers: int, again: bool
) -> None:
    """It was paid for, and that is told once. Of several answers each is its author's own."""
    desk = Desk(replace(CONFIG, slots=1))
    begun, *_ = begin_all(desk, replace(writer("a"), quorum=Quorum(answers, 1)))
    make(desk, begun)
    used = USED
    if again:  # this node has only checked what an earlier life of it has made
        begun, used = begun_anew(desk), NO_USAGE
        assert begun.assignment.purpose is Purpose.FINISH
    lacking = AgentFailed(begun.invocation, Failure.NO_CHECK, "no jq here", (), used)
    turn = desk.turn()
    desk.team.agent_failed(turn, lacking)
    desk.settle(turn)
    made = desk.team.parts.made(("job", "a", 0), desk.ledger.jobs["job"].tasks["a"])
    answer = Proposal((File("f", b"all"),), "done")
    assert made == (Made(answer, ()) if answers == 1 else None)
    assert desk.team.notes.usage("job") == USED


def test_an_answer_that_is_not_all_there_is_made_anew() -> None:
    desk = Desk()
    (begun,) = begin_all(desk, writer("a"))
    make(desk, begun)
    share(desk, begun, b"something else")
    assert begun_anew(desk).assignment.purpose is Purpose.WORK


@pytest.mark.parametrize(
    ("agent", "used", "purpose"),
    [
        ("simulated", Usage(calls=1), Purpose.WORK),
        ("simulated", USED, Purpose.FINISH),
        ("human", NO_USAGE, Purpose.FINISH),
    ],
)
def test_what_took_but_a_moment_is_kept_if_it_was_paid_for_or_a_person_said_it(
    agent: str, used: Usage, purpose: Purpose
) -> None:
    desk = Desk()
    (begun,) = begin_all(desk, replace(writer("a"), agent=agent))
    make(desk, begun, after=CONFIG.tell_ns - 1, used=used)
    assert begun_anew(desk).assignment.purpose is purpose


def test_no_answer_is_taken_over_from_who_was_found_to_be_wrong() -> None:
    desk = Desk()
    other = Identity(b"w" * 32)
    reviewed = replace(writer("a"), verify="true", verify_by=VerifyBy.OTHER)
    (begun,) = begin_all(desk, reviewed)
    make(desk, begun)
    files = (File("f", b"all"),)
    wrong = AcceptResult("job", "a", 0, other.node, 1, files, "done", USED)
    desk.commit(encode_command(wrong))
    desk.commit(encode_command(ReviewResult("job", "a", 0, other.node, 1, SELF.node, "it lies")))
    assert begun_anew(desk).assignment.purpose is Purpose.WORK


@pytest.mark.parametrize(("answers", "purpose"), [(1, Purpose.FINISH), (3, Purpose.WORK)])
def test_where_several_answer_nobody_takes_another_s_answer_over(
    answers: int, purpose: Purpose
) -> None:
    """Else one liar could fill the slots of all who fail."""
    desk = Desk()
    other = Store(Identity(b"o" * 32), "team", 10_000)
    digests = (("f", hashlib.sha256(b"all").hexdigest()),)
    unit = ("job", "a", 0)
    encoded, _ = other.write(
        [
            (part_key(unit, "f"), codec.pack_value(Partial(other.identity.node, 1, b"all"))),
            (
                finished_key(unit),
                codec.pack_value(Finished(other.identity.node, 1, digests, "", USED)),
            ),
        ],
        0,
    )
    desk.store.merge(encoded)
    (begun,) = begin_all(desk, replace(writer("a"), quorum=Quorum(answers, 1)))
    assert begun.assignment.slot == 0
    assert begun.assignment.purpose is purpose


def test_what_was_for_successors_goes_when_the_job_ends() -> None:
    desk = Desk()
    (begun,) = begin_all(desk, writer("a"))
    keep(desk, begun, File(".partial/at", b"7"))
    make(desk, begun)
    keys = desk.store.scan("part/")
    assert keys == ["part/job/a/0/", "part/job/a/0/.partial/at", "part/job/a/0/f"]
    turn = desk.turn()
    desk.team.completed(turn, Completed(begun.invocation, (File("f", b"all"),), "done", USED))
    ((_, command),) = desk.settle(turn).proposals
    desk.commit(command)
    assert desk.store.scan("part/") == ["part/job/a/0/f"]
