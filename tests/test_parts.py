"""Parts: what attempts have written so far is kept by job, task, slot and path."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ledger_hand import job, task
from small_world import SmallWorld
from team_hand import CONFIG, Desk, finished, invoked

from node.doors.versions import siblings_view, versions_view
from protocol.clocks import SECOND
from protocol.effects import Invoke
from protocol.events import AgentFailed, Failure, Progressed
from protocol.jobs import NO_USAGE, File, Job, Quorum, Speculation, Task


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


# -- as `quorate diff` is told of them ------------------------------------------------------------


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
