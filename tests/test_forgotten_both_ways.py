"""Two that have forgotten each other find each other again through those who know both."""

from __future__ import annotations

from dataclasses import replace

import pytest
from member_hand import CONFIG, Town, accusation

from protocol.clocks import SECOND
from protocol.events import Received
from protocol.identity import NodeId
from protocol.membership.members import State
from protocol.messages.membership import MemberSync, News
from protocol.sim.host import Host
from protocol.sim.settled import settled_world


def forget(host: Host, node: NodeId) -> None:
    """As after a long silence. The links end, for strangers need none."""
    assert host.peer is not None
    membership = host.peer.membership
    member = membership._members.get(node)
    assert member is not None
    membership._members.move(member, State.FAILED, host.world.now)
    membership._members.forget(node)


def test_two_that_forgot_each_other_hear_of_it_from_who_knows_both() -> None:
    """Seed 2722: the third had both records, which neither took for news, and neither of the two
    had any reason to count on."""
    world = settled_world(3, seed=1)
    one, other, _ = world.hosts
    world.network.cut([0], [1])
    forget(one, other.identity.node)
    forget(other, one.identity.node)

    def is_whole() -> bool:
        return all(host.peer and len(host.peer.membership.alive()) == 2 for host in world.hosts)

    assert not is_whole()
    world.at(world.now + SECOND // 2, world.network.heal)
    assert world.run(world.now + 20 * SECOND, is_whole)


@pytest.mark.parametrize("missed_until", [0, 2**62])
def test_only_the_operators_word_makes_others_forget(missed_until: int) -> None:
    """Who forgets a member for its silence says so to whoever still tells of it. That is no word of
    the operator's: the other, a moment before it would have done so itself, took it for one, and
    thought that the member would never come back."""
    world = settled_world(3, seed=1)
    one, other, gone = world.hosts
    assert one.peer is not None
    assert other.peer is not None
    gone.crash("a test")
    node = gone.identity.node
    holders = [host.peer.membership for host in (one, other) if host.peer]
    assert world.run(world.now + 20 * SECOND, lambda: all(node in each.gone() for each in holders))
    member = other.peer.membership._members.get(node)
    assert member is not None
    other.peer.membership._members.forget(node, missed_until)
    other.submit(Received(one.identity.node, MemberSync(News((member.record,)))))
    world.run(world.now + SECOND)
    assert one.peer.membership.state_of(node) is (State.FAILED if missed_until else None)


def test_what_a_node_remembers_is_forgotten_if_others_forget_something_newer() -> None:
    """Its disk has a record from before the member counted on: the operator's word is about the
    later one, and was taken for one that was still to arrive. It called the member for ever."""
    town = Town(4)
    town.settle_in()
    back, gone = 3, 2
    known = tuple(member.record for member in town.machine(back).members().values())
    town.receive(gone, town.nodes[0], MemberSync(News((), (accusation(town, gone),))))
    town.run(SECOND)
    assert town.machine(gone).own.incarnation == 1
    town.stop(gone)
    town.run(12 * SECOND)
    town.stop(back)
    town.start(back, known)
    turn = town.turn()
    assert town.machine(0).forget_for_all(turn, town.nodes[gone])
    town.end(0, turn)
    town.run(SECOND)
    assert [town.state(at, gone) for at in (0, 1, back)] == [None] * 3


def test_who_was_forgotten_and_finds_no_room_is_not_answered_without_end() -> None:
    """Each answer to the word that it was forgotten brought one more."""
    town = Town(4, replace(CONFIG, members_max=3))
    town.settle_in()
    back = 3
    known = town.stop(back)
    town.run(12 * SECOND)
    turn = town.turn()
    assert town.machine(0).forget_for_all(turn, town.nodes[back])
    town.end(0, turn)
    town.run(SECOND)
    taken = Town(5).machine(4).own
    for at in range(3):
        town.receive(at, town.nodes[(at + 1) % 3], MemberSync(News((taken,))))
    town.epochs[back] = 0  # it has lost count of its starts
    town.start(back, known)
    seconds = []
    for _ in range(4):
        town.sent.clear()
        town.run(SECOND)
        seconds.append(len(town.sent))
    assert max(seconds) < 150, seconds
    assert town.state(0, back) is None
