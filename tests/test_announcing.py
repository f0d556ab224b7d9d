"""Events reach everybody once; queries gather what everybody answers."""

from __future__ import annotations

import pytest

from protocol.announcing import NAME_LENGTH_MAX, PAYLOAD_SIZE_MAX, SLOTS
from protocol.clocks import MILLISECOND, SECOND, Nanoseconds
from protocol.effects import Asked, Effect, Gathered, Reply
from protocol.events import Announced, Event, Queried
from protocol.facts import Fact
from protocol.facts.sharing import EventReceived
from protocol.peer import Peer
from protocol.sim.host import Host
from protocol.sim.settled import settled_world
from protocol.sim.watch import Watcher
from protocol.sim.world import World


class Diary(Watcher):
    """Who has received which events."""

    def __init__(self, world: World) -> None:
        self.received: list[tuple[int, str, str]] = []
        world.watch(self)

    def see(self, at: int, host: Host, fact: Fact) -> None:
        if isinstance(fact, EventReceived):
            self.received.append((host.number, fact.name, fact.payload))


def world_of(size: int) -> tuple[World, Diary]:
    world = settled_world(size, seed=1)
    return world, Diary(world)


def cut_off(world: World, number: int) -> None:
    world.network.cut([number], [host.number for host in world.hosts if host.number != number])


def test_an_event_reaches_everybody_once_and_in_order() -> None:
    world, diary = world_of(7)
    for number in range(20):
        world.hosts[3].submit(Announced(number, "step", str(number)))
    world.run(world.now + 2 * SECOND)
    for host in range(7):
        heard = [payload for at, _, payload in diary.received if at == host]
        assert heard == [str(number) for number in range(20)]


def test_an_event_is_there_within_a_few_hops() -> None:
    world, diary = world_of(16)
    world.hosts[0].submit(Announced(1, "now", ""))
    world.run(world.now + 30 * MILLISECOND)
    assert {at for at, _, _ in diary.received} == set(range(16))


def test_who_is_cut_off_hears_of_it_afterwards() -> None:
    world, diary = world_of(5)
    cut_off(world, 4)
    world.hosts[0].submit(Announced(1, "missed", "x"))
    world.run(world.now + 2 * SECOND)
    assert {at for at, _, _ in diary.received} == {0, 1, 2, 3}
    world.network.heal()
    world.run(world.now + 10 * SECOND)
    assert {at for at, _, _ in diary.received} == set(range(5))


def test_events_beyond_the_slots_are_all_heard_by_who_is_there() -> None:
    world, diary = world_of(3)
    for number in range(2 * SLOTS):
        world.hosts[0].submit(Announced(number, "many", str(number)))
        world.run(world.now + 20 * MILLISECOND)
    world.run(world.now + SECOND)
    for host in range(3):
        assert len([at for at, _, _ in diary.received if at == host]) == 2 * SLOTS


def test_who_missed_many_hears_all_of_them_in_order() -> None:
    """Those also whose slot has a later event by then, which has its own turn (seed 251)."""
    world, diary = world_of(3)
    cut_off(world, 2)
    for number in range(2 * SLOTS + 33):
        world.hosts[0].submit(Announced(number, "many", str(number)))
        world.run(world.now + 20 * MILLISECOND)
    world.network.heal()
    world.run(world.now + 10 * SECOND)
    heard = [int(payload) for at, _, payload in diary.received if at == 2]
    assert heard == list(range(2 * SLOTS + 33))


def test_in_an_overloaded_team_each_event_that_is_answered_is_heard() -> None:
    world, diary = world_of(3)
    host = world.hosts[0]
    assert host.peer is not None
    host.peer.gossip.overflowed()
    for number in range(200):
        host.submit(Announced(100 + number, "many", str(number)))
    world.run(world.now + 5 * SECOND)
    told = [n for n in range(200) if not host.replies[100 + n].error]
    busy = [n for n in range(200) if host.replies[100 + n].error == "Busy"]
    assert len(told) + len(busy) == 200
    assert busy, "it is overloaded"
    for at in range(3):
        assert [int(payload) for by, _, payload in diary.received if by == at] == told


def test_what_is_out_of_bounds_is_refused() -> None:
    world, diary = world_of(2)
    host = world.hosts[0]
    host.submit(Announced(71, "", "x"))
    host.submit(Announced(72, "n" * (NAME_LENGTH_MAX + 1), "x"))
    host.submit(Announced(73, "n", "x" * (PAYLOAD_SIZE_MAX + 1)))
    host.submit(Queried(74, "", "", SECOND))
    world.run(world.now + SECOND)
    assert {host.replies[number].error for number in (71, 72, 73, 74)} == {"InvalidEvent"}
    assert diary.received == []


def test_a_query_gathers_everybody_s_answer() -> None:
    world, _ = world_of(5)
    host = world.hosts[2]
    host.submit(Queried(1, "ping", "", 10 * SECOND))
    world.run(world.now + SECOND)
    (found,) = host.gathered
    assert found == Gathered(
        1, tuple(sorted((each.identity.node, "here") for each in world.hosts)), ()
    )


def test_a_host_learns_how_long_an_answer_is_waited_for_and_how_old_the_question_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So that a node that was away does not do then what was wanted before."""
    world, _ = world_of(3)
    asked: dict[int, list[Asked]] = {number: [] for number in range(3)}
    step = Peer.step

    def watched(peer: Peer, event: Event, now: Nanoseconds) -> list[Effect]:
        effects = step(peer, event, now)
        (number,) = (host.number for host in world.hosts if host.identity.node == peer.node)
        asked[number] += [effect for effect in effects if isinstance(effect, Asked)]
        return effects

    monkeypatch.setattr(Peer, "step", watched)
    cut_off(world, 2)
    world.hosts[0].submit(Queried(1, "ping", "", 2 * SECOND))
    world.run(world.now + 20 * SECOND)
    world.network.heal()
    world.run(world.now + 20 * SECOND)
    (own,), (near,), (late,) = (asked[number] for number in range(3))
    assert (own.timeout_ms, near.timeout_ms, late.timeout_ms) == (2_000,) * 3
    assert own.age_ms <= near.age_ms < 1_000
    assert late.age_ms > 10_000


def test_who_does_not_answer_is_named_when_time_is_over() -> None:
    world, _ = world_of(5)
    host = world.hosts[2]
    cut_off(world, 4)
    host.submit(Queried(1, "ping", "", SECOND))
    world.run(world.now + 2 * SECOND)
    (found,) = host.gathered
    assert found.silent == (world.hosts[4].identity.node,)
    assert len(found.answers) == 4


@pytest.mark.parametrize("timeout_ns", [0, MILLISECOND // 2])
def test_a_query_asks_also_where_there_is_hardly_time_for_an_answer(
    timeout_ns: Nanoseconds,
) -> None:
    """It would be a plain announcement else, which no host answers, not even its own."""
    world, diary = world_of(3)
    host = world.hosts[0]
    host.submit(Queried(1, "ping", "", timeout_ns))
    world.run(world.now + SECOND)
    assert [name for _, name, _ in diary.received] == ["ping"] * 3
    (found,) = host.gathered
    assert (host.identity.node, "here") in found.answers
    assert len(found.answers) + len(found.silent) == 3


def test_too_many_queries_are_refused() -> None:
    world, _ = world_of(2)
    cut_off(world, 1)
    for number in range(300):
        world.hosts[0].submit(Queried(number, "ping", "", 5 * SECOND))
    refused = [each for each in world.hosts[0].replies.values() if isinstance(each, Reply)]
    assert {each.error for each in refused} == {"Busy"}
