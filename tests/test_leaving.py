"""A node that leaves: the others can do without it first, and a leader hands over."""

from __future__ import annotations

import pytest
from small_world import SmallWorld

from protocol.clocks import SECOND
from protocol.events import Commanded, Leaving
from protocol.facts.agreement import LeaderElected, TransferBegan
from protocol.peer import Peer
from protocol.registers import Command, Verb
from protocol.sim.world import Host

LEAVE_TIMEOUT = 3 * SECOND  # RaftConfig.leave_timeout_ns


def peer_of(host: Host) -> Peer:
    assert host.peer is not None
    return host.peer


def has_left(host: Host) -> bool:
    return peer_of(host).has_left


def voters_of(host: Host) -> set[str]:
    return {str(node) for node in peer_of(host).raft.configuration.members}


def leader_of(small: SmallWorld) -> Host:
    leader = small.leader()
    assert leader is not None
    return leader


def follower_of(small: SmallWorld) -> Host:
    """A voter that does not lead."""
    leader = leader_of(small)
    voters = peer_of(leader).raft.configuration.voters
    return next(h for h in small.hosts if h is not leader and peer_of(h).node in voters)


def test_a_leader_that_leaves_hands_over_first() -> None:
    small = SmallWorld(5)
    first = leader_of(small)
    term = peer_of(first).raft.term
    first.submit(Leaving())
    assert small.run(LEAVE_TIMEOUT, lambda: has_left(first))
    began = small.diary.of(TransferBegan)
    assert [(number, fact.term) for _, number, fact in began] == [(first.number, term)]
    elected = [fact for _, _, fact in small.diary.of(LeaderElected) if fact.term == term + 1]
    assert peer_of(first).node not in {fact.leader for fact in elected}
    assert any(fact.leader == began[0][2].to for fact in elected)


@pytest.mark.parametrize(("size", "left"), [(3, 1), (5, 3)])
@pytest.mark.parametrize("leads", [True, False])
def test_a_council_without_a_spare_shrinks_to_an_odd_size(
    size: int, left: int, leads: bool
) -> None:
    small = SmallWorld(size)
    goes = leader_of(small) if leads else follower_of(small)
    rest = [host for host in small.hosts if host is not goes]
    goes.submit(Leaving())
    assert small.run(20 * SECOND, lambda: all(len(voters_of(host)) == left for host in rest))
    assert all(peer_of(goes).node not in voters_of(host) for host in rest)
    assert small.run(5 * SECOND, lambda: small.leader() in rest)


def test_a_learner_takes_the_place_of_a_voter_that_leaves() -> None:
    small = SmallWorld(7)
    goes = follower_of(small)
    rest = [host for host in small.hosts if host is not goes]
    goes.submit(Leaving())

    def is_replaced() -> bool:
        return all(
            len(voters_of(host)) == 5 and peer_of(goes).node not in voters_of(host) for host in rest
        )

    assert small.run(60 * SECOND, is_replaced)


@pytest.mark.parametrize("seed", range(1, 6))
def test_who_leaves_waits_no_longer_than_the_others_need(seed: int) -> None:
    small = SmallWorld(5, seed=seed)
    goes = follower_of(small)
    goes.submit(Leaving())
    assert small.run(SECOND, lambda: has_left(goes)), "it was told that the change is committed"


def test_a_voter_without_a_majority_leaves_after_a_while() -> None:
    small = SmallWorld(3)
    stays = follower_of(small)
    for host in small.hosts:
        if host is not stays:
            host.crash()
    small.run(5 * SECOND)
    stays.submit(Leaving())
    assert not small.run(LEAVE_TIMEOUT - SECOND, lambda: has_left(stays))
    assert small.run(2 * SECOND, lambda: has_left(stays))


def test_what_was_written_is_there_without_whom_it_was_written_at() -> None:
    small = SmallWorld(5)
    first = leader_of(small)
    first.submit(Commanded(1, (Command(Verb.PUT, "k", b"v"),)))
    assert small.run(5 * SECOND, lambda: bool(first.answers))
    first.submit(Leaving())
    assert small.run(LEAVE_TIMEOUT, lambda: has_left(first))
    rest = [host for host in small.hosts if host is not first]
    assert small.run(
        5 * SECOND, lambda: all(peer_of(host).registers.get("k") is not None for host in rest)
    )


@pytest.mark.parametrize("seed", range(1, 4))
def test_a_voter_that_was_replaced_behind_its_back_finds_out(seed: int) -> None:
    small = SmallWorld(7, seed=seed)
    away = follower_of(small)
    rest = [host for host in small.hosts if host is not away]
    small.world.network.cut([away.number], [host.number for host in rest])
    assert small.run(
        60 * SECOND, lambda: all(peer_of(away).node not in voters_of(host) for host in rest)
    )
    small.run(5 * SECOND)
    assert peer_of(away).raft.is_voter, "as far as it knows"
    small.world.network.heal()
    assert small.run(10 * SECOND, lambda: not peer_of(away).raft.is_voter)
