"""Kinds of faults that have been found in systems of this kind, with whole teams in the simulator.
Which test stands for which kind is in `test_bug_class_table`; the numbers are its rows."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from register_hand import Clients, are_alike, compacting, peer_of, put
from small_world import SmallWorld

from protocol import codec
from protocol import config as presets
from protocol.clocks import MILLISECOND, SECOND, Nanoseconds
from protocol.events import Consistency, Received, Transferred
from protocol.facts import RequestRefused
from protocol.facts.agreement import EntryCommitted, SnapshotInstalled
from protocol.messages.agreement import Agreement, ReadRequest
from protocol.raft import Role
from protocol.registers import Command, Refusal, Verb
from protocol.relaying import Relaying
from protocol.sim.world import Host

HOUR: Nanoseconds = 3_600 * SECOND


def leader_of(small: SmallWorld) -> Host:
    leader = small.leader()
    assert leader is not None
    return leader


def others(small: SmallWorld, *but: Host) -> list[Host]:
    return [host for host in small.hosts if host not in but]


def isolate(small: SmallWorld, *hosts: Host) -> None:
    small.world.network.cut([h.number for h in hosts], [h.number for h in others(small, *hosts)])


@contextmanager
def paused(host: Host) -> Iterator[None]:
    """The process is stopped, and the machine goes on: what arrives waits until it continues."""
    host.pause()
    yield
    host.resume()


# -- 1, 17: a leader that sleeps -----------------------------------------------------------------


@pytest.mark.parametrize("consistency", [Consistency.LINEARIZABLE, Consistency.LEASE])
@pytest.mark.parametrize("pause", [2 * SECOND, 40 * SECOND])
def test_a_leader_that_slept_reads_nothing_old(
    consistency: Consistency, pause: Nanoseconds
) -> None:
    small = SmallWorld(3)
    clients = Clients(small)
    old = leader_of(small)
    clients.do(old, put("a", b"old"))
    rest = others(small, old)
    with paused(old):
        assert small.run(10 * SECOND, lambda: small.leader() is not None and any(
            peer_of(host).raft.leadership for host in rest
        ))  # fmt: skip
        clients.do(rest[0], put("a", b"new"))
        small.run(pause)
        early = clients.read(old, "a", consistency)
    late = clients.read(old, "a", consistency)
    assert small.run(15 * SECOND, lambda: {early, late} <= clients.values(old).keys())
    assert clients.values(old)[early] in (b"new", "NoLeader")
    assert clients.values(old)[late] == b"new"
    assert small.run(10 * SECOND, lambda: are_alike(small.hosts))


@pytest.mark.parametrize("consistency", [Consistency.LINEARIZABLE, Consistency.LEASE])
def test_a_leader_that_does_not_know_of_its_successor_reads_nothing_old(
    consistency: Consistency,
) -> None:
    """It is cut off when it has handed over, and before it hears that another was elected: until
    it misses the answers of a majority it believes that it leads."""
    small = SmallWorld(3)
    clients = Clients(small)
    old = leader_of(small)
    rest = others(small, old)
    for host in small.hosts:
        clients.do(host, put("a", b"old"))
    old.submit(Transferred(0, rest[0].identity.node))
    while peer_of(rest[0]).raft.role is not Role.CANDIDATE:
        small.run(MILLISECOND // 1_000)  # what it asks for is still under way
    isolate(small, old)
    assert small.run(SECOND, lambda: peer_of(rest[0]).raft.leadership is not None)
    clients.do(rest[0], put("a", b"new"))
    assert peer_of(old).raft.leadership is not None, "it has not noticed"
    number = clients.read(old, "a", consistency)
    small.run(2 * SECOND)
    small.world.network.heal()
    assert small.run(15 * SECOND, lambda: number in clients.values(old))
    assert clients.values(old)[number] in (b"new", "NoLeader")


def test_a_node_that_slept_for_a_minute_answers_its_clients_and_goes_on() -> None:
    small = SmallWorld(5)
    clients = Clients(small)
    sleeper = others(small, leader_of(small))[0]
    last = clients.write(sleeper, put("a"))
    with paused(sleeper):
        small.run(60 * SECOND)
    assert small.run(5 * SECOND, lambda: last in clients.told(sleeper))
    assert isinstance(clients.do(sleeper, put("b"))[0], int)
    assert small.run(10 * SECOND, lambda: are_alike(small.hosts))


# -- 2, 13: answers that get lost ------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_a_command_whose_acknowledgement_is_lost_happens_once_and_is_acknowledged(
    seed: int,
) -> None:
    small = SmallWorld(5, seed=seed)
    clients = Clients(small)
    leader = leader_of(small)
    host = others(small, leader)[0]
    clients.do(host, put("other"))
    for number in range(5):
        expected = b"%d" % number if number else None
        value = b"%d" % (number + 1)
        # Heard by all, and hearing nobody, while the command is repeated a few times.
        numbers = [each.number for each in others(small, host)]
        small.world.network.cut(numbers, [host.number], both_ways=False)
        before = peer_of(leader).registers.revision
        last = clients.write(host, Command(Verb.CAS, "count", value, expected), put("plain"))
        small.run(2 * SECOND)
        small.world.network.heal()
        assert small.run(10 * SECOND, lambda last=last: last in clients.told(host))  # type: ignore[misc]
        for result in (clients.told(host)[last - 1], clients.told(host)[last]):
            assert isinstance(result, int)
            assert result > 0, "the first of the repetitions has counted, and its result is told"
        assert peer_of(leader_of(small)).registers.revision == before + 2, "and no other has"
    assert clients.get(leader_of(small), "count") == b"5"


# -- 3: errors that promise something --------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_what_a_client_was_told_did_not_happen_never_does(seed: int) -> None:
    """In the tail of a leader that is cut off lies much that may yet be committed."""
    config = presets.local()
    config = replace(config, clerk=replace(config.clerk, window_max=3, requests_max=6))
    small = SmallWorld(5, config=config, seed=seed)
    clients = Clients(small)
    old = leader_of(small)
    near = others(small, old)[0]
    for host in (old, near):
        clients.do(host, put("first"))
    isolate(small, old, near)
    for host in (old, near):
        for number in range(9):
            clients.write(host, put(f"{host.number}/{number}"))
    small.run(20 * SECOND)
    told = {host.number: dict(clients.told(host)) for host in (old, near)}
    errors = {error for each in told.values() for error in each.values() if isinstance(error, str)}
    assert errors == {"Busy", "NoLeader", "TimedOut"}
    small.world.network.heal()
    for host in small.hosts:
        clients.do(host, put("last"))
    assert small.run(20 * SECOND, lambda: are_alike(small.hosts))
    for host in (old, near):
        for number in range(9):
            if told[host.number][number + 2] in ("Busy", "NoLeader"):
                assert peer_of(old).registers.get(f"{host.number}/{number}") is None


# -- 4, 6: disks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_what_was_acknowledged_survives_a_power_cut_everywhere(seed: int) -> None:
    small = SmallWorld(3, seed=seed)
    clients = Clients(small)
    for host in small.hosts:
        host.disk_delay_ns = 20 * MILLISECOND
    host = small.hosts[seed % 3]
    clients.do(host, put("a", b"0"))
    last = clients.write(host, put("a", b"1"))
    while last not in clients.told(host):
        small.run(MILLISECOND // 4)
    for each in small.hosts:
        each.crash()
    for each in small.hosts:
        each.start()
    assert clients.get(small.hosts[(seed + 1) % 3], "a") == b"1"


@pytest.mark.parametrize("seed", range(4))
def test_a_disk_that_forgot_what_it_acknowledged_takes_it_from_nobody_else(seed: int) -> None:
    """It must not make up a majority with the one that has never had it."""
    small = SmallWorld(3, seed=seed)
    small.world.unwatch(small.checkers)
    clients = Clients(small)
    leader = leader_of(small)
    behind, hurt = others(small, leader)
    clients.do(leader, put("a", b"0"))
    small.run(SECOND)
    behind.crash()
    clients.do(leader, put("a", b"1"))
    hurt.crash()
    del hurt.disk.entries[-2:]
    hurt.disk.impaired = True
    leader.crash()
    behind.start()
    hurt.start()
    small.run(10 * SECOND)
    assert small.leader() is None, "the two have no majority that remembers"
    leader.start()
    assert small.run(20 * SECOND, lambda: small.leader() is leader)
    assert clients.get(behind, "a") == b"1"
    assert small.run(30 * SECOND, lambda: not peer_of(hurt).raft.impaired)
    assert clients.get(hurt, "a") == b"1"


# -- 8: returning ----------------------------------------------------------------------------------


@pytest.mark.parametrize("away", ["crashed", "isolated"])
def test_a_voter_that_was_replaced_returns_and_disturbs_nobody(away: str) -> None:
    small = SmallWorld(6, config=compacting())
    clients = Clients(small)
    leader = leader_of(small)
    gone = next(h for h in others(small, leader) if peer_of(h).raft.is_voter)
    if away == "crashed":
        gone.crash()
    else:
        isolate(small, gone)
    rest = others(small, gone)
    assert small.run(60 * SECOND, lambda: all(
        peer_of(host).raft.is_voter and not peer_of(host).status().outgoing for host in rest
    ))  # fmt: skip
    for number in range(40):
        clients.do(leader, put(f"k{number}"))
    term = peer_of(leader).raft.term
    if away == "crashed":
        gone.start()
    small.world.network.heal()
    assert small.run(20 * SECOND, lambda: are_alike(small.hosts))
    small.run(10 * SECOND)
    assert peer_of(leader).raft.leadership is not None
    assert {peer_of(host).raft.term for host in small.hosts} == {term}
    assert not peer_of(gone).raft.is_voter
    assert isinstance(clients.do(gone, put("back"))[0], int)


# -- 14: partial apply -----------------------------------------------------------------------------


@pytest.mark.parametrize("after_us", range(200, 6_000, 650))
def test_a_crash_in_the_middle_of_a_batch_leaves_no_half_of_it(after_us: int) -> None:
    small = SmallWorld(3, config=compacting(entries=3, trailing=1))
    clients = Clients(small)
    host = small.hosts[1]
    clients.do(small.hosts[0], put("a", b"0"))
    clients.do(host, put("b", b"0"))
    commands = [Command(Verb.CAS, "a", b"%d" % (at + 1), b"%d" % at) for at in range(200)]
    last = clients.write(host, *commands)
    small.run(after_us * 1_000)
    victim = small.hosts[after_us // 200 % 3]
    victim.crash()
    small.run(50 * MILLISECOND)
    victim.start()
    assert small.run(20 * SECOND, lambda: small.leader() is not None and are_alike(small.hosts))
    clients.do(small.hosts[0], put("c"))
    value = clients.get(small.hosts[0], "a")
    assert value in (b"0", b"200")
    assert small.run(5 * SECOND, lambda: are_alike(small.hosts))
    if victim is not host:
        assert value == b"200"
        told = clients.told(host)
        assert all(told[request] > 0 for request in range(last - 199, last + 1))  # type: ignore[operator]


# -- 15: locks -------------------------------------------------------------------------------------


class Resource:
    """Something outside of the team that heeds fencing tokens."""

    def __init__(self) -> None:
        self.highest = 0
        self.written_by: list[str] = []

    def write(self, who: str, token: int) -> bool:
        if token < self.highest:
            return False
        self.highest = token
        self.written_by.append(who)
        return True


def test_the_revision_of_a_lock_is_its_fencing_token() -> None:
    small = SmallWorld(3)
    clients = Clients(small)
    one, other = others(small, leader_of(small))
    resource = Resource()
    (first,) = clients.do(one, Command(Verb.CAS, "lock", b"one", None))
    assert isinstance(first, int)
    assert clients.do(other, Command(Verb.CAS, "lock", b"other", None)) == [Refusal.UNEQUAL]
    isolate(small, one)  # it holds the lock, it believes
    (second,) = clients.do(other, Command(Verb.CAS, "lock", b"other", b"one"))
    assert isinstance(second, int)
    assert second > first
    assert resource.write("other", second)
    assert not resource.write("one", first)
    small.world.network.heal()
    give_back = Command(Verb.CAS, "lock", b"", b"one")
    assert clients.do(one, give_back) == [Refusal.UNEQUAL], "that is not its lock any more"
    assert resource.written_by == ["other"]


# -- 16: the tail ----------------------------------------------------------------------------------


def test_a_leader_that_commits_nothing_takes_no_more_than_it_may_keep() -> None:
    base = presets.local()
    config = replace(
        base,
        raft=replace(base.raft, uncommitted_max=20),
        clerk=replace(base.clerk, requests_max=500, timeout_ns=300 * SECOND),
    )
    small = SmallWorld(1, config=config)
    alone = small.hosts[0]
    clients = Clients(small)
    clients.do(alone, put("a"))
    alone.disk_delay_ns = HOUR
    for _ in range(100):
        clients.write(alone, *[put("a")] * 10)
        small.run(MILLISECOND)
    raft = peer_of(alone).raft
    assert raft.log.last_index - raft.commit <= 20 + 1
    refused = [error for error in clients.told(alone).values() if error == "Busy"]
    assert len(refused) == 1_000 - 500


# -- 18: versions ----------------------------------------------------------------------------------


def test_a_frame_of_another_version_is_refused_and_the_node_goes_on() -> None:
    small = SmallWorld(3)
    clients = Clients(small)
    host, origin, middle = small.hosts
    frame = codec.encode(Agreement(b"", ReadRequest(1, False)))
    packed = bytearray(frame[codec.CHECKSUM_SIZE :])
    assert packed[1] == codec.VERSION
    packed[1] += 1
    newer = zlib.crc32(packed).to_bytes(codec.CHECKSUM_SIZE, "big") + packed
    relaying = Relaying(origin.identity, "simulated", 99, SECOND)
    relay = relaying.wrap(host.identity.node, newer)
    host.submit(Received(middle.identity.node, relay))
    (refused,) = [fact for _, _, fact in small.diary.of(RequestRefused)]
    assert "version" in refused.reason
    assert isinstance(clients.do(host, put("a"))[0], int)
    assert small.diary.of(EntryCommitted)
    assert not small.diary.of(SnapshotInstalled)
