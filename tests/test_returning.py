"""Late returners ask what still counts, until somebody who knows it has answered."""

from __future__ import annotations

from dataclasses import replace

from test_gossip import CONFIG, Circle

from protocol import config as presets
from protocol.clocks import SECOND, Nanoseconds
from protocol.effects import DropBatches, KeepLateness
from protocol.events import EntryWritten, Received
from protocol.facts import Fact
from protocol.facts.sharing import BatchCollected, ReturnedLate
from protocol.gossip import Gossip
from protocol.identity import NOBODY, NodeId
from protocol.messages.sharing import Holding, Holdings, HoldingsAsked, Summary
from protocol.returning import LATE_FOR_NS, Returning
from protocol.sim.host import Host
from protocol.sim.settled import settled_world
from protocol.sim.watch import Watcher
from protocol.turn import Turn

ONE, OTHER = NodeId("one"), NodeId("other")


def collect(gossip: Gossip) -> None:
    """As when every member has said that it has everything."""
    for _ in range(2):
        gossip.store.collect(gossip.store.vector())


def after_an_absence() -> Circle:
    """Node 0 deleted what node 1 still shows, and has forgotten that it ever was."""
    circle = Circle(3, replace(CONFIG, fanout_max=2))
    circle.write(0, "k", b"1")
    circle.settle()
    circle.cut = {(0, 1), (1, 0), (1, 2), (2, 1)}
    turn = circle.turn(0)
    circle.gossips[0].write(turn, [("k", None)])
    circle.gossips[0].write(turn, [("m", b"")])
    circle.end(0, turn)
    circle.settle()
    for who in (0, 2):
        collect(circle.gossips[who])
    circle.cut.clear()
    return circle


def test_what_was_deleted_meanwhile_is_dropped() -> None:
    circle = after_an_absence()
    assert circle.values(1, "k") == [b"1"]
    circle.compare(0, 1)
    assert circle.gossips[1].returning.is_late
    circle.compare(2, 1)
    assert not circle.gossips[1].returning.is_late
    assert circle.values(1, "k") == []
    assert circle.gossips[1].store.scan() == ["m"]
    assert (1, ReturnedLate(1)) in circle.facts


def test_an_answer_that_is_lost_is_asked_for_again() -> None:
    circle = after_an_absence()
    circle.compare(0, 1)
    circle.cut = {(1, 2)}  # the question does not arrive
    circle.compare(2, 1)
    assert circle.gossips[1].returning.is_late
    circle.cut.clear()
    circle.now += SECOND
    circle.compare(2, 1)
    assert circle.values(1, "k") == []


def test_that_it_is_late_survives_a_crash() -> None:
    circle = after_an_absence()
    turn = circle.turn(1)
    lacking = circle.gossips[0].store.missing(circle.gossips[1].store.vector(), 10**9)
    circle.gossips[1]._merge(turn, circle.nodes[0], lacking.batches, lacking.collected)
    assert KeepLateness(True) in turn.records
    old = circle.gossips[1]
    circle.gossips[1] = Gossip(old.store, CONFIG, old.random, 0, is_late=True)
    circle.compare(0, 1)
    assert circle.values(1, "k") == []


def test_what_nobody_was_asked_for_drops_nothing() -> None:
    """Else any node could make any other one forget."""
    circle = Circle(3)
    circle.write(0, "k", b"1")
    circle.settle()
    holdings = Holdings((Holding(circle.nodes[0], 1, ()),), more=False, late=False)
    turn = circle.receive(1, circle.nodes[2], holdings)
    assert not any(isinstance(record, DropBatches) for record in turn.records)
    assert circle.values(1, "k") == [b"1"]
    late = after_an_absence()
    late.compare(0, 1)
    turn = late.turn(1)
    assert late.gossips[1].returning.asks(late.nodes[2], late.now)
    late.receive(1, late.nodes[0], Holdings((), more=False, late=False))
    assert late.gossips[1].returning.is_late, "that was not the node that was asked"


def test_who_has_had_something_else_is_not_asked() -> None:
    circle = after_an_absence()
    circle.compare(0, 1)
    circle.cut = {(0, 1)}
    circle.write(0, "n", b"")
    circle.settle()
    circle.cut.clear()
    circle.sent.clear()
    turn = circle.turn(1)
    other = Summary(bytes(16), b"", False, 0, 0, NOBODY)
    circle.gossips[1].receive(turn, circle.nodes[2], other)
    circle.end(1, turn)
    assert not any(isinstance(message, HoldingsAsked) for _, _, message in circle.sent)


def test_who_is_late_itself_ends_nothing_unless_nobody_else_is_there() -> None:
    returning = Returning(is_late=False)
    assert returning.skipped(0)
    assert not returning.skipped(0), "once is enough"
    now = 0
    assert returning.asks(ONE, now)
    assert not returning.answered(True, [ONE, OTHER], now)
    now += SECOND
    assert not returning.asks(ONE, now), "that it does not know is known"
    assert returning.asks(OTHER, now)
    assert returning.answered(True, [ONE, OTHER], now)
    assert not returning.is_late


def test_who_was_late_too_is_asked_again_after_a_while() -> None:
    """Seed 30267: one that had been there at first never answered, and the others need not be late
    for ever."""
    returning = Returning(is_late=True)
    assert returning.asks(ONE, 0)
    assert not returning.answered(True, [ONE, OTHER], 0)
    assert not returning.asks(ONE, LATE_FOR_NS - 1)
    assert returning.asks(ONE, LATE_FOR_NS)
    assert returning.answered(True, [ONE], LATE_FOR_NS), "the other has gone"


def test_questions_become_rarer() -> None:
    returning = Returning(is_late=True)
    asked = [second for second in range(300) if returning.asks(ONE, second * SECOND)]
    assert asked == [0, 1, 3, 7, 15, 31, 63, 127, 191, 255]


def collected_apart(
    parts: tuple[list[int], list[int]], forget_after_ns: Nanoseconds = 3_600 * SECOND
) -> list[bool]:
    """Whether anything is dropped in each part of a team that is apart for longer than the
    horizon, and in which an entry is written over again and again."""
    config = presets.local()
    gossip = replace(config.gossip, horizon_ns=SECOND, collect_interval_ns=SECOND)
    membership = replace(config.membership, forget_after_ns=forget_after_ns)
    config = replace(config, gossip=gossip, membership=membership)
    world = settled_world(sum(map(len, parts)), 1, config)
    world.network.cut(*parts)
    world.run(world.now + 10 * SECOND)  # until all have failed and are away
    seen = Collected()
    world.watch(seen)
    for number in range(20):
        for part in parts:
            world.hosts[part[0]].submit(EntryWritten(number, "k", str(number).encode()))
        world.run(world.now + SECOND)
    return [not seen.hosts.isdisjoint(part) for part in parts]


class Collected(Watcher):
    """Which hosts have dropped something."""

    def __init__(self) -> None:
        self.hosts: set[int] = set()

    def see(self, at: int, host: Host, fact: Fact) -> None:
        if isinstance(fact, BatchCollected):
            self.hosts.add(host.number)


def test_the_lesser_part_drops_nothing_that_the_others_have_not_had() -> None:
    """What it dropped and died with would delete nothing anywhere else (seed 874)."""
    assert collected_apart(([0, 1], [2])) == [True, False]
    assert collected_apart(([2], [0, 1])) == [False, True]
    assert collected_apart(([0, 1], [2, 3])) == [False, False]


def test_nor_does_it_once_it_has_forgotten_them() -> None:
    """They live on, for all it knows (seed 7629)."""
    assert collected_apart(([0, 1], [2]), forget_after_ns=2 * SECOND) == [True, False]
    assert collected_apart(([0, 1], [2, 3]), forget_after_ns=2 * SECOND) == [False, False]


def test_who_knows_nobody_yet_drops_nothing_that_others_may_show() -> None:
    """A newcomer that a storm has told entries, and no members, deleted a value, and then all trace
    of that (seed 40640)."""
    config = presets.local()
    config = replace(config, gossip=replace(config.gossip, collect_interval_ns=SECOND))
    world = settled_world(2, 1, config)
    newcomer, other = world.hosts
    for number, key in enumerate(("k", "another")):  # of each author the last is kept
        other.submit(EntryWritten(number, key, b"shown"))
    world.run(world.now + 2 * SECOND)
    assert newcomer.peer is not None
    world.network.cut([0], [1])
    newcomer.peer.membership._members.forget(other.identity.node)
    seen = Collected()
    world.watch(seen)
    for number, key in enumerate(("k", "another")):
        newcomer.submit(EntryWritten(number, key, None))
    world.run(world.now + 5 * SECOND)
    assert not newcomer.peer.membership.members()
    assert 0 not in seen.hosts


def test_two_that_are_late_wait_for_who_has_just_joined() -> None:
    """It knows what counts, and joined after the last tick (seed 1705)."""
    world = settled_world(3, 1)
    peers = [host.peer for host in world.hosts if host.peer]
    turn = Turn(world.now, world.now, 1)
    late, other, third = peers
    late.gossip.returning.skipped(world.now)
    late.gossip.summary_due(turn, [other.node])  # a tick: the third is not there yet
    assert late.gossip.returning.asks(other.node, world.now)
    late.step(Received(other.node, Holdings((), more=False, late=True)), world.now)
    assert late.gossip.returning.is_late
    assert late.gossip.returning.asks(third.node, world.now + SECOND)
    late.step(Received(third.node, Holdings((), more=False, late=True)), world.now + SECOND)
    assert not late.gossip.returning.is_late, "all that are there are late too"


def test_one_that_is_away_may_know_what_those_that_are_late_do_not() -> None:
    """Seed 20416: two that had just started ended it with each other, and the third came a moment
    later."""
    world = settled_world(3, seed=1)
    first, second, _ = world.hosts
    world.network.cut([2], [0, 1])
    second.crash("a test")
    second.start_again()
    for host in (first, second):
        assert host.peer is not None
        host.peer.gossip.returning.skipped(world.now)
    world.run(world.now + 20 * SECOND)
    assert [is_late(host) for host in world.hosts] == [True, True, False]
    world.network.heal()
    assert world.run(world.now + 60 * SECOND, lambda: not any(map(is_late, world.hosts)))


def is_late(host: Host) -> bool:
    assert host.peer is not None
    return host.peer.gossip.returning.is_late
