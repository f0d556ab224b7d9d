"""A team whose majority is lost goes on from one node's log, on the operator's word."""

from __future__ import annotations

from small_world import SmallWorld

from protocol.clocks import SECOND
from protocol.effects import Persist, Reply
from protocol.events import Commanded, Rescued
from protocol.peer import Peer
from protocol.registers import Command, Verb
from protocol.sim.world import Host

RESCUE = 7


def peer_of(host: Host) -> Peer:
    assert host.peer is not None
    return host.peer


def lost_majority(size: int = 3) -> tuple[SmallWorld, Host]:
    """A register is written, then all but one voter crash: the one that is left."""
    small = SmallWorld(size)
    left = next(host for host in small.hosts if host is not small.leader())
    left.submit(Commanded(1, (Command(Verb.PUT, "k", b"v"),)))
    assert small.run(5 * SECOND, lambda: bool(left.answers))
    for host in small.hosts:
        if host is not left:
            host.crash()
    small.run(10 * SECOND)
    return small, left


def test_one_node_goes_on_alone_and_others_take_its_log() -> None:
    small, left = lost_majority()
    assert small.leader() is None
    left.submit(Rescued(RESCUE))
    assert small.run(SECOND, lambda: RESCUE in left.replies)
    assert small.leader() is left
    assert left.replies[RESCUE] == Reply(RESCUE, "", "1")
    left.submit(Commanded(2, (Command(Verb.PUT, "k", b"w"),)))
    assert small.run(5 * SECOND, lambda: len(left.answers) == 2)
    for host in small.hosts:
        if host is not left:
            host.start()

    def is_whole() -> bool:
        return all(
            peer_of(host).raft.configuration.epoch == 1
            and len(peer_of(host).raft.configuration.voters) == 3
            and (held := peer_of(host).registers.get("k")) is not None
            and held.value == b"w"
            for host in small.hosts
        )

    assert small.run(60 * SECOND, is_whole)


def test_a_node_that_hears_a_leader_is_not_rescued() -> None:
    small = SmallWorld(3)
    follower = next(host for host in small.hosts if host is not small.leader())
    follower.submit(Rescued(RESCUE))
    assert follower.replies[RESCUE].error == "NotPossible"
    assert "this node hears it" in follower.replies[RESCUE].detail
    assert peer_of(follower).raft.configuration.epoch == 0


def test_a_rescue_is_told_when_it_is_durable() -> None:
    small, left = lost_majority()
    effects = peer_of(left).step(Rescued(RESCUE), small.world.now)
    kinds = [type(effect) for effect in effects]
    assert kinds.index(Persist) < kinds.index(Reply)
