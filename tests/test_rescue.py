"""A majority that is lost for good: an operator rescues the team at one of the survivors, and from
then on it is that node's log that counts, also for those of the old majority that come back."""

from __future__ import annotations

from collections import Counter

import pytest
from ledger_hand import job, task
from register_hand import Clients, are_alike, compacting, peer_of, put
from small_world import SmallWorld

from protocol.clocks import SECOND
from protocol.config import Config
from protocol.events import Consistency, Rescued
from protocol.facts.agreement import LogGivenUp, LogRescued, LogsDiffer
from protocol.facts.work import JobSubmitted
from protocol.jobs import ClaimMode
from protocol.sim.world import Host

RESCUE = 77
LARGE = b"v" * 60_000


def unchecked(size: int, config: Config | None = None, seed: int = 1) -> SmallWorld:
    """The checkers know one history only, and a rescue begins another."""
    small = SmallWorld(size, config=config, seed=seed)
    small.world.unwatch(small.checkers)
    return small


def rescue(small: SmallWorld, host: Host) -> None:
    host.submit(Rescued(RESCUE))
    assert small.run(SECOND, lambda: RESCUE in host.replies)
    assert host.replies.pop(RESCUE).error == ""


def follow_one_log(small: SmallWorld) -> bool:
    """Whether all that are up follow the same log and leader, and have come to the same."""
    peers = [peer_of(host) for host in small.up]
    leaders = {peer.raft.leader for peer in peers}
    return (
        len({peer.raft.log.identity for peer in peers}) == 1
        and len(leaders) == 1
        and "" not in leaders
        and are_alike(small.up)
    )


def beaten(small: SmallWorld) -> list[Host]:
    """Three of five are lost: who is left, the one that everybody has as a seed among them."""
    for host in small.hosts[2:]:
        host.crash()
    return small.hosts[:2]


def test_a_survivor_begins_a_new_epoch_and_the_others_follow() -> None:
    small = unchecked(5)
    clients = Clients(small)
    clients.do(small.hosts[0], put("before", b"1"))
    small.do(job(task("a"), name="first"))
    one, other = beaten(small)
    small.run(10 * SECOND)
    assert small.leader() is None
    waiting = clients.write(other, put("waits", b"2"))
    rescue(small, one)
    assert [fact.epoch for _, _, fact in small.diary.of(LogRescued)] == [1]
    assert small.run(10 * SECOND, lambda: follow_one_log(small))
    assert small.leader() is one
    newcomer = small.world.add_host(found=False, expected=1)
    newcomer.start()
    assert small.run(30 * SECOND, lambda: len(peer_of(one).status().voters) == 3)
    assert small.run(10 * SECOND, lambda: follow_one_log(small))
    for host in (one, other, newcomer):
        assert clients.get(host, "before") == b"1"
        assert peer_of(host).ledger.jobs["first"].succeeded
    assert clients.told(other).get(waiting) in ("TimedOut", 2)
    assert isinstance(clients.do(newcomer, put("after"))[0], int)
    small.submit(job(task("b"), name="second"), at=other.number)
    assert small.run(60 * SECOND, lambda: small.is_finished("second"))


def test_only_a_node_with_a_log_and_without_a_majority_can_rescue() -> None:
    small = SmallWorld(3)
    leader = small.leader()
    assert leader is not None
    leader.submit(Rescued(RESCUE))
    assert leader.replies[RESCUE].error == "NotPossible"
    alone = small.world.add_host(found=False, expected=1)
    small.world.network.cut([alone.number], range(3))
    alone.start()
    alone.submit(Rescued(RESCUE))
    assert alone.replies[RESCUE].error == "NotPossible"


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("config", [None, compacting(part=20_000)])
def test_the_old_majority_gives_its_log_up_when_it_comes_back(
    config: Config | None, large: bool, seed: int
) -> None:
    """It went on meanwhile, and has more entries and later terms; an operator has said that they
    are lost. A log that does not fit one message is taken over too."""
    small = unchecked(5, config, seed)
    clients = Clients(small)
    value = LARGE if large else b"1"
    for number in range(12):
        clients.do(small.hosts[number % 5], put(f"k{number}", value))
    small.do(job(task("a"), name="first"))
    leader = small.leader()
    rest = [host for host in small.hosts if host is not leader]
    few, many = rest[:2], [*rest[2:], leader]
    small.world.network.cut(
        [host.number for host in few], [host.number for host in many if host is not None]
    )
    small.run(10 * SECOND)
    for host in many:
        assert host is not None
        clients.do(host, put("theirs", value))
    rescue(small, few[0])
    assert small.run(20 * SECOND, lambda: peer_of(few[0]).raft.leadership is not None)
    for host in few:
        clients.do(host, put("ours", value))
    small.world.network.heal()
    assert small.run(60 * SECOND, lambda: follow_one_log(small)), [h.peer for h in small.hosts]
    given_up = Counter(number for _, number, _ in small.diary.of(LogGivenUp))
    assert set(given_up) >= {host.number for host in many if host is not None}
    assert max(given_up.values()) < 5, "nobody begins again and again"
    assert not small.diary.of(LogsDiffer)
    for host in small.hosts:
        registers = peer_of(host).registers
        assert registers.get("theirs") is None
        assert registers.get("ours") is not None
        assert registers.get("k3") is not None
        assert peer_of(host).ledger.jobs["first"].succeeded
    for host in small.hosts:
        assert isinstance(clients.do(host, put(f"after{host.number}"))[0], int)
        assert clients.get(host, f"after{host.number}") == b"x"
    assert small.run(60 * SECOND, lambda: len(peer_of(few[0]).status().voters) == 5)


def told_and_there(clients: Clients, host: Host, key: str) -> None:
    """What a client was told of its write is so in the log that counts now."""
    found = peer_of(host).registers.get(key)
    result = clients.told(host)[clients.written[host.number]]
    if isinstance(result, int):
        assert found is not None
        assert found.revision == result


@pytest.mark.parametrize("seed", range(6))
def test_a_clients_session_does_not_reach_from_one_log_into_the_other(seed: int) -> None:
    """Both logs hold the opening of the session, and different commands behind it."""
    small = unchecked(5, seed=seed)
    clients = Clients(small)
    for host in small.hosts:
        clients.do(host, put(f"first{host.number}"))
    leader = small.leader()
    rest = [host for host in small.hosts if host is not leader]
    few, many = rest[:2], [host for host in (*rest[2:], leader) if host is not None]
    small.world.network.cut([h.number for h in few], [h.number for h in many])
    small.run(8 * SECOND)
    for host in many:
        for number in range(3):
            clients.do(host, put(f"theirs{number}"))
    rescue(small, few[0])
    small.run(5 * SECOND)
    for host in few:
        clients.do(host, put("ours"))
    for host in many:  # under way when the two meet
        clients.write(host, put(f"late{host.number}"))
    small.world.network.heal()
    for _ in range(10):
        small.run(SECOND)
        for host in many:
            clients.write(host, put(f"new{host.number}", b"%d" % small.world.now))
    assert small.run(60 * SECOND, lambda: follow_one_log(small))
    assert small.run(
        20 * SECOND,
        lambda: all(clients.written[h.number] in clients.told(h) for h in small.hosts),
    )
    for host in many:
        told_and_there(clients, host, f"new{host.number}")
        written = clients.written[host.number]
        assert set(clients.told(host)) == set(range(1, written + 1)), "all are answered"
    revisions = peer_of(few[0]).registers.revision
    keys = len(peer_of(few[0]).registers)
    assert revisions < keys + 60, "no command was done over and over"


@pytest.mark.parametrize("mode", list(ClaimMode))
def test_the_team_of_a_node_that_yields_goes_by_the_log_that_counts(mode: ClaimMode) -> None:
    """Its agents work for a job that the log of the others has never had, or has not ended yet."""
    small = unchecked(5)
    known = job(*(task(f"t{number}") for number in range(8)), claims=mode, name="known")
    small.submit(known)
    small.run(SECOND // 2)
    leader = small.leader()
    rest = [host for host in small.hosts if host is not leader]
    few, many = rest[:2], [host for host in (*rest[2:], leader) if host is not None]
    small.world.network.cut([h.number for h in few], [h.number for h in many])
    small.run(8 * SECOND)
    unknown = job(*(task(f"u{number}") for number in range(40)), claims=mode, name="unknown")
    small.submit(unknown, at=many[0].number)
    small.run(2 * SECOND)
    assert any(peer_of(host).team.running for host in many)
    rescue(small, few[0])
    small.run(3 * SECOND)
    alone = many[1].number  # what it is asked for now gets into no log before it yields
    small.world.network.cut([alone], [h.number for h in small.hosts if h.number != alone])
    small.run(SECOND)
    small.submit(job(task("z"), claims=mode, name="late"), at=alone)
    small.run(SECOND)
    small.world.network.heal()
    assert small.run(60 * SECOND, lambda: follow_one_log(small))
    assert small.run(120 * SECOND, lambda: small.is_finished("known"))
    assert all(peer_of(h).ledger.jobs["known"].succeeded for h in small.hosts)
    assert small.run(60 * SECOND, lambda: small.is_finished("late")), "its client insisted"
    assert small.run(5 * SECOND, lambda: many[1].replies[1].error == "")
    small.run(15 * SECOND)
    for host in small.hosts:
        peer = peer_of(host)
        assert "unknown" not in peer.ledger.jobs or peer.ledger.jobs["unknown"].is_finished
        assert not peer.team.running
        assert not peer.team.attempts.handed_in
        assert not len(peer.team.wishes)
    submitted = Counter((n, fact.job, fact.index) for _, n, fact in small.diary.of(JobSubmitted))
    assert max(submitted.values()) <= 2, "once for each log that a node followed"


def test_who_was_away_during_the_rescue_joins_it_when_it_comes_back() -> None:
    small = unchecked(5, compacting())
    clients = Clients(small)
    for number in range(30):
        clients.do(small.hosts[0], put(f"k{number}"))
    one, _ = beaten(small)
    small.run(8 * SECOND)
    rescue(small, one)
    small.run(5 * SECOND)
    for number in range(30):
        clients.do(one, put(f"n{number}"))
    for host in small.hosts:
        if not host.is_up:
            host.start()
            assert small.run(30 * SECOND, lambda: follow_one_log(small))
    assert small.run(30 * SECOND, lambda: len(peer_of(one).status().voters) == 5)
    assert clients.get(small.hosts[0], "n29", Consistency.LINEARIZABLE) == b"x"


def test_a_rescuer_that_crashes_leads_its_epoch_again() -> None:
    small = unchecked(5, compacting())
    clients = Clients(small)
    clients.do(small.hosts[0], put("a"))
    one, other = beaten(small)
    small.run(8 * SECOND)
    rescue(small, one)
    small.run(3 * SECOND)
    one.crash()
    one.start()
    assert small.run(20 * SECOND, lambda: follow_one_log(small))
    assert small.leader() is one
    assert clients.get(other, "a") == b"x"


@pytest.mark.parametrize("after_us", [100, 400, 800, 1_500, 3_000])
def test_a_rescuer_may_crash_while_it_writes_the_epoch_down(after_us: int) -> None:
    """Either it has begun or it has not; and the other survivor follows, with a log of any size."""
    small = unchecked(5)
    clients = Clients(small)
    for number in range(12):
        clients.do(small.hosts[0], put(f"k{number}", LARGE))
    one, other = beaten(small)
    small.run(8 * SECOND)
    one.submit(Rescued(RESCUE))
    small.run(after_us * 1_000)
    was_told = RESCUE in one.replies
    one.crash()
    small.run(3 * SECOND)
    one.start()
    small.run(5 * SECOND)
    if peer_of(one).raft.leadership is None:
        assert not was_told
        rescue(small, one)
    assert small.run(20 * SECOND, lambda: follow_one_log(small))
    assert clients.get(other, "k11") == LARGE


def test_a_team_can_be_rescued_twice() -> None:
    small = unchecked(3)
    clients = Clients(small)
    clients.do(small.hosts[0], put("a"))
    for epoch in (1, 2):
        leader = small.leader()
        for host in small.hosts:
            if host.is_up and host is not small.hosts[1]:
                host.crash()
        if leader is not small.hosts[1]:
            small.run(5 * SECOND)
        small.run(5 * SECOND)
        if peer_of(small.hosts[1]).raft.leadership is None:
            rescue(small, small.hosts[1])
        assert peer_of(small.hosts[1]).raft.configuration.epoch == epoch
        for host in small.hosts:
            if not host.is_up:
                host.start()
        assert small.run(30 * SECOND, lambda: follow_one_log(small))
        assert small.run(30 * SECOND, lambda: len(peer_of(small.hosts[1]).status().voters) == 3)
    assert clients.get(small.hosts[2], "a") == b"x"


def rescued_apart(seed: int) -> tuple[SmallWorld, Clients, Host, Host]:
    """Two survivors that cannot reach each other are both rescued, and both go on alone."""
    small = unchecked(5, seed=seed)
    clients = Clients(small)
    clients.do(small.hosts[0], put("before", b"1"))
    one, other = beaten(small)
    small.world.network.cut([one.number], [other.number])
    small.run(10 * SECOND)
    for host in (one, other):
        rescue(small, host)
        clients.do(host, put("owner", host.peer.settings.name.encode() if host.peer else b""))
    small.world.network.heal()
    return small, clients, one, other


@pytest.mark.parametrize("seed", range(3))
def test_two_that_are_rescued_at_the_same_time_stay_apart_and_say_so(seed: int) -> None:
    """Their epochs have the same number, but are not one: what each has acknowledged since stays,
    until an operator says which of the two shall count."""
    small, clients, one, other = rescued_apart(seed)
    small.run(20 * SECOND)
    assert {number for _, number, _ in small.diary.of(LogsDiffer)} == {one.number, other.number}
    for host in (one, other):
        assert peer_of(host).raft.leadership is not None
        assert clients.get(host, "owner") == peer_of(host).settings.name.encode()
    for host in small.hosts[2:]:  # of the old epoch: each takes one of the two
        host.start()
    small.run(20 * SECOND)
    logs = {peer_of(host).raft.log.identity for host in small.hosts}
    assert logs == {peer_of(host).raft.log.identity for host in (one, other)}
    rescue(small, other)
    assert small.run(60 * SECOND, lambda: follow_one_log(small))
    owner = peer_of(other).settings.name.encode()
    assert [clients.get(host, "owner") for host in small.hosts] == [owner] * 5
    assert clients.get(one, "before") == b"1"
    assert small.run(60 * SECOND, lambda: len(peer_of(other).status().voters) == 5)


def test_a_rescuer_beside_another_takes_up_its_own_epoch_again_after_a_crash() -> None:
    small, clients, one, other = rescued_apart(1)
    for host in (one, other):
        log = peer_of(host).raft.log.identity
        host.crash()
        host.start()
        assert small.run(20 * SECOND, lambda host=host: peer_of(host).raft.leadership is not None)
        assert peer_of(host).raft.log.identity == log
        assert clients.get(host, "owner") == peer_of(host).settings.name.encode()
