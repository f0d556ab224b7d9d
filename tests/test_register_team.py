"""Registers in whole teams: a command through any node happens once, a read through any node sees
what was written before it; leaders come, go, hang and hand over."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from ledger_hand import job, task
from register_hand import Clients, are_alike, compacting, peer_of, put
from small_world import SmallWorld

from protocol import config as presets
from protocol.clocks import MILLISECOND, SECOND
from protocol.events import Consistency, Leaving, Transferred
from protocol.facts.agreement import ImpairmentEnded, LeaderElected, LeaderResigned
from protocol.facts.membership import MemberLeft
from protocol.identity import NOBODY
from protocol.registers import Command, Verb
from protocol.sim.world import Host

TRANSFER = 55
FRESH = (Consistency.LINEARIZABLE, Consistency.LEASE)


def leader_of(small: SmallWorld) -> Host:
    leader = small.leader()
    assert leader is not None
    return leader


def one_of_each(small: SmallWorld) -> list[Host]:
    """The leader, a follower, and a node beyond the council."""
    leader = leader_of(small)
    follower = next(h for h in small.up if h is not leader and peer_of(h).raft.is_voter)
    outside = next(h for h in small.up if not peer_of(h).raft.is_voter)
    return [leader, follower, outside]


# -- reads -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("consistency", FRESH)
def test_a_read_through_any_node_sees_what_was_written_through_any_other(
    consistency: Consistency,
) -> None:
    small = SmallWorld(7)
    clients = Clients(small)
    hosts = one_of_each(small)
    for number, writer in enumerate(hosts):
        for reader in hosts:
            value = b"%d/%d" % (number, reader.number)
            clients.do(writer, put("a", value))
            assert clients.get(reader, "a", consistency) == value


def test_a_local_read_asks_nobody_and_is_never_torn() -> None:
    small = SmallWorld(7)
    clients = Clients(small)
    outside = one_of_each(small)[2]
    clients.do(small.hosts[0], put("a", b"1"))
    small.run(SECOND)
    small.world.network.cut([outside.number], [h.number for h in small.hosts if h is not outside])
    assert clients.get(outside, "a", Consistency.LOCAL) == b"1"
    clients.do(small.hosts[0], put("a", b"2"))
    assert clients.get(outside, "a", Consistency.LOCAL) == b"1", "it is old, and says so"


@pytest.mark.parametrize("consistency", FRESH)
@pytest.mark.parametrize("seed", range(4))
def test_a_leader_that_is_cut_off_answers_no_read_from_what_it_has(
    consistency: Consistency, seed: int
) -> None:
    small = SmallWorld(5, seed=seed)
    clients = Clients(small)
    old = leader_of(small)
    clients.do(old, put("a", b"old"))
    rest = [host for host in small.hosts if host is not old]
    small.world.network.cut([old.number], [host.number for host in rest])
    assert small.run(10 * SECOND, lambda: small.leader() not in (None, old))
    clients.do(rest[0], put("a", b"new"))
    number = clients.read(old, "a", consistency)
    small.run(2 * SECOND)
    assert clients.values(old).get(number) in (None, "NoLeader")
    small.world.network.heal()
    assert small.run(15 * SECOND, lambda: number in clients.values(old))
    assert clients.values(old)[number] in (b"new", "NoLeader")


def test_a_read_is_answered_though_the_leader_dies() -> None:
    small = SmallWorld(5)
    clients = Clients(small)
    clients.do(small.hosts[0], put("a", b"1"))
    leader = leader_of(small)
    asking = next(host for host in small.hosts if host is not leader)
    number = clients.read(asking, "a")
    leader.crash()
    assert small.run(10 * SECOND, lambda: number in clients.values(asking))
    assert clients.values(asking)[number] == b"1"


# -- exactly once ----------------------------------------------------------------------------------


def count(clients: Clients, host: Host, key: str, expected: bytes | None) -> bytes:
    """Add one by compare-and-set: what is then expected next. A doubled or lost one would show."""
    value = b"%d" % (int(expected or b"0") + 1)
    (result,) = clients.do(host, Command(Verb.CAS, key, value, expected), within=30 * SECOND)
    assert isinstance(result, int)
    assert result > 0, "nobody else writes this key, so the value is the expected one"
    return value


@pytest.mark.parametrize("seed", range(6))
def test_commands_through_any_node_happen_once_whatever_is_lost_and_whoever_dies(
    seed: int,
) -> None:
    config = replace(compacting(), clerk=replace(presets.local().clerk, timeout_ns=60 * SECOND))
    small = SmallWorld(7, config=config, seed=seed)
    clients = Clients(small)
    random = Random(f"{seed}/test")
    small.world.network.loss = 0.1
    small.world.network.duplication = 0.2
    values: dict[int, bytes] = {}
    for turn in range(60):
        host = random.choice(small.up)
        values[host.number] = count(clients, host, f"count/{host.number}", values.get(host.number))
        if turn % 12 == 5:
            leader = small.leader()
            if leader is not None:
                leader.crash()
                small.run(SECOND)
                leader.start()
    small.world.network.heal()
    assert small.run(30 * SECOND, lambda: are_alike(small.hosts))
    for number, value in values.items():
        assert clients.get(small.hosts[0], f"count/{number}") == value


def test_many_commands_at_once_all_happen_in_their_order() -> None:
    small = SmallWorld(3)
    clients = Clients(small)
    for host in small.hosts:
        results = clients.do(host, *[put(f"k{at % 50}", b"%d" % at) for at in range(2_000)])
        assert all(isinstance(each, int) for each in results)
        assert results == sorted(results, key=int)
    small.run(SECOND)
    for host in small.hosts:
        found = peer_of(host).registers.get("k49")
        assert found is not None
        assert found.value == b"1999"


def test_a_client_of_a_minority_is_told_and_nothing_of_it_happens_later() -> None:
    small = SmallWorld(5)
    clients = Clients(small)
    leader = leader_of(small)
    alone = next(host for host in small.hosts if host is not leader)
    clients.do(alone, put("a", b"before"))
    small.world.network.cut([alone.number], [h.number for h in small.hosts if h is not alone])
    last = clients.write(alone, put("a", b"given up"))
    small.run(15 * SECOND)
    assert clients.told(alone)[last] == "TimedOut", "it was sent: nobody knows"
    small.world.network.heal()
    clients.do(alone, put("b"))
    assert clients.get(alone, "a") == b"before", "its number was taken by a command of nothing"


# -- leaders ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("named", [True, False])
def test_an_operator_can_choose_the_leader(named: bool) -> None:
    small = SmallWorld(5)
    clients = Clients(small)
    old = leader_of(small)
    other = next(host for host in small.hosts if host is not old)
    clients.do(old, put("a"))
    old.submit(Transferred(TRANSFER, other.identity.node if named else NOBODY))
    began = small.world.now
    assert small.run(SECOND, lambda: TRANSFER in old.replies)
    assert small.world.now - began < 500 * MILLISECOND, "no time-out was waited for"
    assert old.replies[TRANSFER].error == ""
    assert small.leader() not in (None, old)
    assert not named or small.leader() is other
    other.submit(Transferred(TRANSFER, other.identity.node))
    if named:
        assert other.replies[TRANSFER].error == "", "it leads already"
    clients.do(old, put("b"))


@pytest.mark.parametrize("size", [2, 3, 5, 6])
def test_a_leader_that_leaves_hands_over_first(size: int) -> None:
    small = SmallWorld(size)
    clients = Clients(small)
    old = leader_of(small)
    clients.do(old, put("a"))
    old.submit(Leaving())
    assert small.run(5 * SECOND, lambda: peer_of(old).has_left)
    old.crash()
    rest = [host for host in small.hosts if host is not old]
    began = small.world.now
    assert isinstance(clients.do(rest[0], put("b"))[0], int)
    assert small.world.now - began < SECOND, "somebody else led already"
    wanted = len(rest) - (1 - len(rest) % 2)
    assert small.run(
        20 * SECOND, lambda: all(len(peer_of(h).status().voters) == wanted for h in rest)
    )
    assert {n for _, n, _ in small.diary.of(MemberLeft)} == {h.number for h in rest}
    assert not [fact for _, _, fact in small.diary.of(LeaderResigned) if "majority" in fact.reason]


def test_nodes_may_leave_one_after_the_other_until_one_is_left() -> None:
    small = SmallWorld(5)
    clients = Clients(small)
    clients.do(small.hosts[0], put("a", b"1"))
    for host in small.hosts[:4]:
        host.submit(Leaving())
        assert small.run(6 * SECOND, lambda host=host: peer_of(host).has_left)  # type: ignore[misc]
        host.crash()
        small.run(5 * SECOND)
    (last,) = small.up
    assert peer_of(last).status().voters == (last.identity.node,)
    assert clients.get(last, "a") == b"1"
    clients.do(last, put("b"))


def test_a_leader_whose_disk_hangs_gives_way() -> None:
    small = SmallWorld(5)
    clients = Clients(small)
    old = leader_of(small)
    clients.do(old, put("a"))
    raft = presets.local().raft
    old.disk_delay_ns = 3_600 * SECOND
    last = clients.write(old, put("hung"))
    began = small.world.now
    limit = raft.disk_stall_ns + raft.heartbeat_ns + 100 * MILLISECOND
    assert small.run(limit, lambda: peer_of(old).raft.leadership is None)
    assert small.run(SECOND, lambda: small.leader() not in (None, old))
    assert small.world.now - began < limit + SECOND
    rest = [host for host in small.hosts if host is not old]
    assert isinstance(clients.do(rest[0], put("b"))[0], int)
    assert small.run(5 * SECOND, lambda: last in clients.told(old)), "the others have it durable"


def test_a_disk_that_hangs_for_a_while_and_comes_back_breaks_nothing() -> None:
    small = SmallWorld(5)
    clients = Clients(small)
    old = leader_of(small)
    peer = peer_of(old)
    old.disk_delay_ns = 60 * SECOND
    last = clients.write(old, put("slow"))
    small.run(MILLISECOND)
    old.disk_delay_ns = MILLISECOND  # of what it is asked after that
    assert small.run(5 * SECOND, lambda: small.leader() not in (None, old))
    assert peer.raft.writes.is_stalled(small.world.now)
    for host in small.hosts:
        if host is not old:
            assert isinstance(clients.do(host, put(f"k{host.number}"))[0], int)
    assert small.run(12 * SECOND, lambda: last in clients.told(old))
    assert small.run(900 * SECOND, lambda: peer.raft.writes.waiting_since() is None)
    assert small.run(10 * SECOND, lambda: are_alike(small.hosts))
    leader_of(small).submit(Transferred(TRANSFER, peer.node))
    assert small.run(5 * SECOND, lambda: small.leader() is old), "it may lead again"
    assert isinstance(clients.do(old, put("c"))[0], int)


# -- a damaged journal -----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [3, 5, 6])
@pytest.mark.parametrize("lost", ["all", "tail"])
def test_a_node_whose_journal_was_damaged_is_filled_again_and_votes_again(
    size: int, lost: str
) -> None:
    small = SmallWorld(size, config=compacting())
    small.world.unwatch(small.checkers)  # what was durable is not, and that is the point
    clients = Clients(small)
    for number in range(30):
        clients.do(small.hosts[0], put(f"k{number}"))
    small.do(job(task("a")))
    leader = leader_of(small)
    hurt = next(h for h in small.hosts if h is not leader and peer_of(h).raft.is_voter)
    hurt.crash()
    hurt.disk.impaired = True
    if lost == "all":
        hurt.disk.snapshot = None
        hurt.disk.entries.clear()
    else:
        del hurt.disk.entries[len(hurt.disk.entries) // 2 :]
        if hurt.disk.snapshot and hurt.disk.last_index <= hurt.disk.snapshot.index:
            hurt.disk.entries.clear()  # what ends before the snapshot is of no use
    hurt.start()
    assert peer_of(hurt).raft.impaired
    assert not peer_of(hurt).raft.may_campaign

    def is_well() -> bool:
        raft = peer_of(hurt).raft
        return not raft.impaired and (raft.is_voter or size == 6) and are_alike(small.hosts)

    assert small.run(40 * SECOND, is_well)
    assert [n for _, n, _ in small.diary.of(ImpairmentEnded)] == [hurt.number]
    assert not hurt.disk.impaired
    assert peer_of(hurt).ledger.jobs["job"].succeeded
    assert small.run(
        20 * SECOND, lambda: len(peer_of(leader_of(small)).status().voters) == size - (size == 6)
    )
    hurt.crash()
    hurt.start()
    assert not peer_of(hurt).raft.impaired
    clients.do(hurt, put("after"))


def test_the_impaired_do_not_lead_even_if_that_leaves_nobody() -> None:
    """One of three is dead and one impaired: the third has no majority of those who may vote."""
    small = SmallWorld(3)
    small.world.unwatch(small.checkers)
    leader = leader_of(small)
    dead, hurt = (host for host in small.hosts if host is not leader)
    for host in small.hosts:
        host.crash()
    hurt.disk.impaired = True
    hurt.start()
    leader.start()
    small.run(10 * SECOND)
    assert small.leader() is None
    dead.start()
    assert small.run(20 * SECOND, lambda: small.leader() is not None)
    assert small.leader() is not hurt
    assert small.run(30 * SECOND, lambda: not peer_of(hurt).raft.impaired)
    assert small.diary.of(LeaderElected)
