"""Logs that were founded apart: a node that finds a team gives its own up, if nothing is lost with
it; two teams that both have something to lose stay two."""

from __future__ import annotations

import pytest
from ledger_hand import job, task
from small_world import SmallWorld

from protocol.clocks import SECOND
from protocol.effects import AppendEntries
from protocol.events import Received, Submitted
from protocol.facts.agreement import LogGivenUp, LogsDiffer
from protocol.facts.work import JobSubmitted
from protocol.identity import NodeId
from protocol.messages.agreement import (
    Agreement,
    Append,
    EntryKind,
    LogEntry,
    VoteReply,
    VoteRequest,
)
from protocol.peer import Peer
from protocol.sim.disk import Disk
from protocol.sim.world import Host


def unchecked(size: int) -> SmallWorld:
    """The checkers know one log only."""
    small = SmallWorld(size)
    small.world.unwatch(small.checkers)
    return small


def peer_of(host: Host) -> Peer:
    assert host.peer is not None
    return host.peer


def origins(hosts: list[Host]) -> set[bytes]:
    return {peer_of(host).raft.log.origin for host in hosts}


def late_founder(small: SmallWorld) -> Host:
    """Somebody starts one more node, and says by mistake that it is the first."""
    late = small.world.add_host(found=True, expected=1)
    late.start()
    return late


def stand_together(small: SmallWorld) -> bool:
    """Whether all follow one log and one leader."""
    peers = [peer_of(host) for host in small.up]
    leaders = {peer.raft.leader for peer in peers}
    alike = len({peer.raft.commit for peer in peers}) == 1
    return len(origins(small.up)) == 1 and len(leaders) == 1 and "" not in leaders and alike


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_a_founder_that_finds_a_team_joins_it(size: int) -> None:
    small = unchecked(size)
    small.do(job(task("first"), name="first"))  # a team that has something to lose
    (own,) = origins(small.hosts)
    late = late_founder(small)
    assert small.run(20 * SECOND, lambda: stand_together(small))
    assert origins(small.up) == {own}
    assert [number for _, number, _ in small.diary.of(LogGivenUp)] == [late.number]
    late.submit(Submitted(2, job(task("second"), name="second")))
    assert small.run(60 * SECOND, lambda: small.is_finished("second"))
    indexes = {fact.index for _, _, fact in small.diary.of(JobSubmitted) if fact.job == "second"}
    assert len(indexes) == 1


@pytest.mark.parametrize("count", [2, 3])
def test_of_several_founders_that_meet_one_log_remains(count: int) -> None:
    small = unchecked(1)
    peer_of(small.hosts[0])
    for _ in range(count - 1):
        late_founder(small)
    assert small.run(20 * SECOND, lambda: stand_together(small))
    assert len({fact.own for _, _, fact in small.diary.of(LogGivenUp)}) == count - 1
    small.submit(job(task("a")))
    assert small.run(60 * SECOND, small.is_finished)


def test_a_founder_that_lost_its_volume_joins_the_team_that_it_founded() -> None:
    small = unchecked(3)
    small.do(job(task("a")))
    seed = small.hosts[0]
    (own,) = origins(small.hosts)
    seed.crash()
    small.run(20 * SECOND)
    seed.disk = Disk()
    seed.identity = small.world.new_identity("another key")
    small.world.by_node[seed.identity.node] = seed
    seed.start()
    assert small.run(30 * SECOND, lambda: stand_together(small))
    assert origins(small.up) == {own}
    assert peer_of(seed).ledger.jobs["job"].is_finished


def test_two_teams_with_something_to_lose_stay_two_and_say_so() -> None:
    small = unchecked(3)
    small.do(job(task("a"), name="ours"))
    small.world.network.cut([3], [0, 1, 2])
    alone = late_founder(small)
    small.run(3 * SECOND)
    alone.submit(Submitted(5, job(task("b"), name="theirs")))
    small.run(5 * SECOND)
    assert peer_of(alone).ledger.jobs["theirs"].is_finished
    small.world.network.heal()
    small.run(30 * SECOND)
    assert len(origins(small.up)) == 2
    assert {number for _, number, _ in small.diary.of(LogsDiffer)} == {0, 1, 2, 3}
    assert list(peer_of(alone).ledger.jobs) == ["theirs"]
    for host in small.hosts[:3]:
        assert list(peer_of(host).ledger.jobs) == ["ours"]
        assert alone.identity.node not in peer_of(host).status().voters
    small.submit(job(task("c"), name="more"), at=1)
    jobs = [peer_of(host).ledger.jobs for host in small.hosts[:3]]
    assert small.run(
        30 * SECOND, lambda: all("more" in known and known["more"].is_finished for known in jobs)
    )


def test_a_crash_between_two_logs_loses_nothing() -> None:
    """The other log's entries are not on the disk yet when the node falls over."""
    small = unchecked(3)
    small.do(job(task("a")))
    (own,) = origins(small.hosts)
    late = late_founder(small)
    late.disk_delay_ns = 5 * SECOND
    assert small.run(60 * SECOND, lambda: bool(small.diary.of(LogGivenUp)))
    late.crash()
    late.disk_delay_ns = SECOND // 1000
    late.start()
    assert small.run(30 * SECOND, lambda: stand_together(small))
    assert origins(small.up) == {own}
    assert late.disk.entries == small.hosts[1].disk.entries[: len(late.disk.entries)]


def test_what_concerns_another_log_is_not_looked_at() -> None:
    """Terms and indexes of two logs are alike by chance: neither votes nor entries may pass."""
    small = unchecked(3)
    leader = small.leader()
    assert leader is not None
    peer = peer_of(leader)
    before = peer.status()
    other = NodeId("another")
    for message in (
        VoteRequest(before.term + 9, 99, 99, False, False, 0),
        VoteReply(before.term + 9, before.term, True, False),
        Append(before.term + 9, 1, 0, 0, (LogEntry(1, 1, EntryKind.NOOP, b""),), 1),
    ):
        leader.submit(Received(other, Agreement(b"elsewhere", message)))
        assert peer.status() == before


def test_a_log_that_was_given_up_is_replaced_on_the_disk() -> None:
    disk = Disk()
    mine = tuple(LogEntry(index, 1, EntryKind.NOOP, b"mine") for index in (1, 2, 3))
    theirs = tuple(LogEntry(index, 1, EntryKind.NOOP, b"theirs") for index in (1, 2))
    disk.write((AppendEntries(mine),))
    disk.write((AppendEntries(theirs),))
    assert disk.restored().entries == theirs
