"""Whole teams that compact their logs: who was away, or comes late, ends up like all the others."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from ledger_hand import job, task
from register_hand import Clients, are_alike, compacting, peer_of, put
from small_world import SmallWorld

from protocol.clocks import SECOND
from protocol.events import Consistency
from protocol.facts.agreement import LogCompacted, SnapshotInstalled
from protocol.jobs import ClaimMode
from protocol.sim.world import Host

BIG = b"v" * 200


def followers(small: SmallWorld) -> list[Host]:
    leader = small.leader()
    return [host for host in small.up if host is not leader]


def beyond(small: SmallWorld) -> list[Host]:
    """Nodes that do not vote."""
    return [host for host in small.up if not peer_of(host).raft.is_voter]


def write_much(clients: Clients, host: Host, count: int = 60) -> None:
    for number in range(count):
        assert isinstance(clients.do(host, put(f"k{number % 30}", BIG))[0], int)


def test_who_was_away_while_the_log_was_compacted_is_brought_up_by_parts() -> None:
    small = SmallWorld(3, config=compacting())
    clients = Clients(small)
    away = followers(small)[0]
    away.crash()
    leader = small.leader()
    assert leader is not None
    write_much(clients, leader)
    small.submit(job(task("a")), at=leader.number)
    assert small.run(60 * SECOND, small.is_finished)
    away.start()
    assert small.run(20 * SECOND, lambda: are_alike(small.hosts))
    (installed,) = [fact for _, number, fact in small.diary.of(SnapshotInstalled)]
    assert installed.size > 10 * 300, "it took many parts"
    assert peer_of(away).ledger.jobs["job"].is_finished
    assert peer_of(away).registers.get("k1") is not None
    assert isinstance(clients.do(away, put("k"))[0], int)
    for host in small.hosts:  # and from what the disks kept
        host.crash()
    for host in small.hosts:
        host.start()
    assert small.run(20 * SECOND, lambda: small.leader() is not None and are_alike(small.hosts))
    assert peer_of(away).registers.get("k1") is not None


@pytest.mark.parametrize("trailing", [0, 3])
def test_a_team_may_take_a_snapshot_at_each_entry(trailing: int) -> None:
    small = SmallWorld(3, config=compacting(entries=1, trailing=trailing, part=64))
    clients = Clients(small)
    small.do(job(task("a"), task("b", "a"), claims=ClaimMode.RAFT))
    for host in small.hosts:
        assert isinstance(clients.do(host, put(f"at{host.number}"))[0], int)
    away = followers(small)[0]
    away.crash()
    for number in range(5):
        clients.do(small.up[0], put(f"k{number}"))
    away.start()
    assert small.run(20 * SECOND, lambda: are_alike(small.hosts))
    for host in small.hosts:
        assert peer_of(host).raft.log.last_index - peer_of(host).raft.log.first_index < 5
        assert peer_of(host).ledger.jobs["job"].succeeded


def test_a_log_is_compacted_by_each_node_for_itself_and_snapshots_are_equal() -> None:
    small = SmallWorld(3, config=compacting())
    write_much(Clients(small), small.hosts[0])
    small.run(SECOND)
    compacted = small.diary.of(LogCompacted)
    for host in small.hosts[1:]:
        own = [fact for _, number, fact in compacted if number == host.number]
        assert own == [fact for _, number, fact in compacted if number == 0]
        assert len(own) > 2
    assert len({peer_of(host).raft.snapshots.encoded().digest for host in small.hosts}) == 1


def test_the_leader_may_die_between_two_parts() -> None:
    small = SmallWorld(3, config=compacting(part=100))
    clients = Clients(small)
    away = followers(small)[0]
    away.crash()
    first = small.leader()
    assert first is not None
    write_much(clients, first, 40)
    away.start()
    assert small.run(
        10 * SECOND,
        lambda: peer_of(away).raft.following._intake is not None,
    )
    first.crash()
    assert small.run(20 * SECOND, lambda: small.leader() is not None)
    assert small.run(20 * SECOND, lambda: are_alike(small.up))
    first.start()
    assert isinstance(clients.do(away, put("k"))[0], int)
    assert small.run(20 * SECOND, lambda: are_alike(small.up))


def test_a_voter_is_replaced_by_a_snapshot_while_a_job_runs() -> None:
    small = SmallWorld(6, config=compacting())
    clients = Clients(small)
    write_much(clients, small.hosts[0])
    small.submit(job(*(task(f"t{number}") for number in range(12)), claims=ClaimMode.RAFT))
    small.run(SECOND)
    leader = small.leader()
    voters = [host for host in followers(small) if peer_of(host).raft.is_voter]
    dead = voters[0]
    dead.crash()
    assert small.run(60 * SECOND, small.is_finished)

    def is_replaced() -> bool:
        found = small.leader()
        return found is not None and all(
            peer_of(host).raft.is_voter and not peer_of(host).status().outgoing for host in small.up
        )

    assert small.run(60 * SECOND, is_replaced)
    assert leader is not None
    assert small.run(10 * SECOND, lambda: are_alike(small.up))
    dead.start()
    assert small.run(30 * SECOND, lambda: are_alike(small.hosts))
    assert not peer_of(dead).raft.is_voter
    assert small.is_finished()


@pytest.mark.parametrize("size", [9, 12])
def test_nodes_beyond_the_council_learn_everything(size: int) -> None:
    small = SmallWorld(size, config=compacting())
    clients = Clients(small)
    outside = beyond(small)
    assert len(outside) == size - 5
    for number, host in enumerate(outside):
        assert isinstance(clients.do(host, put(f"k{number}"))[0], int)
    assert small.run(SECOND, lambda: are_alike(small.hosts)), "at once, not by and by"
    away = outside[0]
    away.crash()
    write_much(clients, small.hosts[0])
    away.start()
    assert small.run(20 * SECOND, lambda: are_alike(small.hosts))
    small.run(SECOND)  # what it has taken in is still on its way to the disk
    assert {n for _, n, _ in small.diary.of(SnapshotInstalled)} == {away.number}


def test_a_snapshot_is_learnt_though_the_teacher_dies() -> None:
    small = SmallWorld(9, config=compacting(part=100))
    clients = Clients(small)
    away = beyond(small)[0]
    away.crash()
    write_much(clients, small.hosts[0])
    away.start()
    intake = peer_of(away).raft.following
    assert small.run(20 * SECOND, lambda: intake._intake is not None)
    teachers = [host for host in followers(small) if peer_of(host).raft.is_voter]
    for host in teachers[:2]:  # the one that teaches may be among them
        host.crash()
    assert small.run(30 * SECOND, lambda: are_alike(small.up))
    for number in range(3):
        clients.do(away, put(f"more{number}"))
    assert small.run(10 * SECOND, lambda: are_alike(small.up))


def test_nodes_beyond_the_council_learn_though_messages_get_lost() -> None:
    small = SmallWorld(9, config=compacting())
    clients = Clients(small)
    away = beyond(small)[0]
    away.crash()
    small.world.network.loss = 0.2
    small.world.network.duplication = 0.1
    write_much(clients, small.hosts[0], 40)
    away.start()
    assert small.run(60 * SECOND, lambda: are_alike(small.up))


def test_a_client_that_waits_for_its_job_is_answered_out_of_a_snapshot() -> None:
    """The entry that would have answered it is compacted away when it comes back."""
    small = SmallWorld(3, config=compacting())
    clients = Clients(small)
    away = followers(small)[0]
    others = [host.number for host in small.hosts if host is not away]
    leader = small.leader()
    assert leader is not None
    # It can still send, so the submission arrives, but hears nothing.
    small.world.network.cut(others, [away.number], both_ways=False)
    small.submit(job(task("a")), at=away.number)
    last = clients.write(away, put("mine"))
    assert small.run(5 * SECOND, lambda: "job" in peer_of(leader).ledger.jobs)
    write_much(clients, leader)
    small.world.network.heal()
    assert small.run(20 * SECOND, lambda: are_alike(small.hosts))
    small.run(SECOND)  # what it has taken in is still on its way to the disk
    assert {n for _, n, _ in small.diary.of(SnapshotInstalled)} == {away.number}
    assert small.run(SECOND, lambda: 1 in away.replies)
    assert away.replies[1].error == ""
    assert small.run(3 * SECOND, lambda: last in clients.told(away))
    assert small.run(60 * SECOND, small.is_finished)
    assert clients.get(away, "mine", Consistency.LOCAL) == b"x"


def test_what_a_snapshot_says_of_jobs_reaches_the_team() -> None:
    """Claims and notes of a job that ended meanwhile are forgotten, as they are elsewhere."""
    small = SmallWorld(3, config=compacting(entries=5, trailing=0))
    away = followers(small)[0]
    small.submit(job(*(task(f"t{number}") for number in range(9))))
    small.run(SECOND // 2)
    small.world.network.cut([away.number], [h.number for h in small.hosts if h is not away])
    rest = [host for host in small.hosts if host is not away]
    assert small.run(
        120 * SECOND, lambda: all(peer_of(h).ledger.jobs["job"].is_finished for h in rest)
    )
    write_much(Clients(small), rest[0], 20)
    small.world.network.heal()
    assert small.run(30 * SECOND, small.is_finished)
    small.run(5 * SECOND)
    team = peer_of(away).team
    assert small.diary.of(SnapshotInstalled)
    assert not team.running
    assert not team.attempts.handed_in
    assert not team.book._held
    assert not len(team.wishes)


def test_the_image_grows_before_it_is_taken_again() -> None:
    """With a large state a snapshot is taken when as many bytes have been applied again."""
    config = compacting(entries=10**9)
    config = replace(config, raft=replace(config.raft, compact_size=2_000))
    small = SmallWorld(1, config=config)
    clients = Clients(small)
    for number in range(100):
        clients.do(small.hosts[0], put(f"k{number}", BIG))
    taken = [fact.size for _, _, fact in small.diary.of(LogCompacted)]
    assert 2 <= len(taken) < 8
    assert all(later > 1.5 * earlier for earlier, later in pairwise(taken))
