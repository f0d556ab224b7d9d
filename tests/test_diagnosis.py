"""Why there is no leader: what a node says of it, and that it says nothing while there is one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from random import Random

import pytest
from small_world import Scripted, SmallWorld

from protocol import codec
from protocol import config as presets
from protocol.clocks import MILLISECOND, SECOND
from protocol.configuration import Configuration
from protocol.diagnosis import is_majority_lost, why_no_leader
from protocol.events import Commanded, Leaving, Received
from protocol.membership import State
from protocol.messages.agreement import EntryKind, LogEntry
from protocol.peer import Peer
from protocol.registers import Command, Verb
from protocol.sim.network import Network
from protocol.sim.world import Host, World


def why(host: Host) -> list[str]:
    assert host.peer is not None
    return why_no_leader(host.peer, host.world.now)


def peer_of(host: Host) -> Peer:
    assert host.peer is not None
    return host.peer


def said(host: Host) -> str:
    return "\n".join(why(host))


def bare_world(hosts: int) -> World:
    """Nodes of which nobody founds anything, not started."""
    network = Network(Random("network"), delay_mean_ns=MILLISECOND)
    world = World(1, presets.local(), network, Scripted())
    for _ in range(hosts):
        world.add_host(found=False, expected=hosts)
    return world


def crash(hosts: Iterable[Host]) -> None:
    for host in hosts:
        host.crash()


@pytest.mark.parametrize("size", [1, 3, 7])
def test_nothing_is_said_while_a_leader_is_heard(size: int) -> None:
    small = SmallWorld(size)
    assert [why(host) for host in small.hosts] == [[]] * size


def test_a_team_that_nobody_founded_says_so() -> None:
    world = bare_world(3)
    for host in world.hosts:
        host.start()
    world.run(5 * SECOND)
    assert why(world.hosts[0]) == [
        "this node follows no log: it has founded none, and has learnt of none yet",
        "n1 and n2 have none either: start one node with --found, once",
    ]


def test_seeds_that_nobody_answers_at_are_named() -> None:
    world = bare_world(2)
    world.hosts[1].start()
    world.run(5 * SECOND)
    assert why(world.hosts[1])[1] == "nobody answers at sim-0:1"


def test_a_node_without_seeds_is_told_what_to_give_it() -> None:
    world = bare_world(1)
    world.hosts[0].start()
    world.run(5 * SECOND)
    assert why(world.hosts[0])[1].startswith("it knows nobody to ask: give it --join")


def test_voters_that_failed_are_counted_and_named() -> None:
    small = SmallWorld(5)
    crash(small.hosts[2:])
    small.run(20 * SECOND)
    for host in small.up:
        first = why(host)[0]
        assert first == "2 of 5 voters can vote, and it takes 3: n2, n3 and n4 failed"
        assert "no leader for " in said(host)


def test_a_majority_is_not_lost_while_it_is_only_suspected() -> None:
    small = SmallWorld(3)
    left = small.hosts[0]
    assert not is_majority_lost(peer_of(left))
    small.world.network.cut([0], [1, 2])

    def states() -> set[State]:
        return {member.state for member in peer_of(left).membership.members().values()}

    assert small.run(5 * SECOND, lambda: states() == {State.SUSPECT})
    assert not is_majority_lost(peer_of(left))
    assert small.run(20 * SECOND, lambda: states() == {State.FAILED})
    assert is_majority_lost(peer_of(left))


def test_a_voter_that_was_restarted_alone_has_heard_of_nobody() -> None:
    small = SmallWorld(3)
    crash(small.hosts)
    small.run(SECOND)
    small.hosts[1].start()
    small.run(SECOND // 10)
    first = why(small.hosts[1])[0]
    assert first == (
        "1 of 3 voters can vote, and it takes 2: nothing heard of n0 and n2 since this node started"
    )


def test_who_is_cut_off_sees_the_others_as_failed() -> None:
    small = SmallWorld(3)
    leader = small.leader()
    assert leader is not None
    others = [host for host in small.hosts if host is not leader]
    small.world.network.cut([leader.number], [host.number for host in others])
    small.run(15 * SECOND)
    assert why(leader)[0].startswith("1 of 3 voters can vote")
    assert [why(host) for host in others] == [[], []], "the majority has a leader"
    small.world.network.heal()
    assert small.run(20 * SECOND, lambda: not any(map(why, small.hosts)))


def test_who_misses_its_leader_says_so_before_another_is_elected() -> None:
    small = SmallWorld(3)
    leader = small.leader()
    assert leader is not None
    for host in small.hosts:  # so that none is elected meanwhile
        small.world.network.cut([host.number], [h.number for h in small.hosts if h is not host])
    follower = next(host for host in small.hosts if host is not leader)
    assert small.run(2 * SECOND, lambda: why(follower) != [])
    assert any(words in said(follower) for words in ("silent", "no leader for", "this node asks"))


def test_damaged_journals_are_named() -> None:
    small = SmallWorld(3)
    crash(small.hosts)
    small.run(SECOND)
    for host in small.hosts[:2]:
        host.disk.impaired = True
    for host in small.hosts:
        host.start()
    small.run(10 * SECOND)
    first, second = why(small.hosts[0])[:2]
    assert first.startswith("this node's journal has lost something, so it does not vote")
    assert second == ("1 of 3 voters can vote, and it takes 2: the journal of n0 and n1 is damaged")
    assert why(small.hosts[2])[0] == second


def test_a_change_of_voters_needs_a_majority_of_both_sets() -> None:
    small = SmallWorld(5)
    nodes = [peer_of(host).node for host in small.hosts]
    crash(small.hosts)
    small.run(SECOND)
    joint = Configuration(tuple(sorted(nodes[:3])), outgoing=tuple(sorted(nodes[2:])))
    for host in small.hosts[:3]:
        data = codec.pack_value(joint)
        entry = LogEntry(host.disk.last_index + 1, 9, EntryKind.VOTERS, data)
        host.disk.entries.append(entry)
        host.disk.hard_state = replace(host.disk.hard_state, term=9)
        host.start()
    small.run(20 * SECOND)
    first = why(small.hosts[0])[0]
    assert first.startswith("1 of 3 voters that are being replaced can vote, and it takes 2: ")
    assert first.endswith(": n3 and n4 failed") or "nothing heard of n3 and n4" in first


def test_a_disk_that_does_not_answer_is_named() -> None:
    small = SmallWorld(1)
    host = small.hosts[0]
    host.disk_delay_ns = 10**6 * SECOND
    host.submit(Commanded(1, (Command(Verb.PUT, "k", b"v"),)))
    small.run(9 * SECOND)
    assert "this node's disk has not answered for " in why(host)[0]


def test_a_node_that_left_says_no_more_than_that() -> None:
    small = SmallWorld(1)
    small.hosts[0].submit(Leaving())
    small.run(5 * SECOND)
    assert why(small.hosts[0]) == ["this node has left the team"]


def test_a_node_beyond_the_council_names_who_votes() -> None:
    small = SmallWorld(7)
    voters = peer_of(small.hosts[0]).raft.configuration.members
    crash([host for host in small.hosts if peer_of(host).node in voters])
    small.run(20 * SECOND)
    for host in small.up:
        assert why(host)[0].startswith("0 of 5 voters can vote, and it takes 3: ")
        assert "this node does not vote, and has heard of no leader for" in why(host)[-1]


# -- by hand: what others say --------------------------------------------------------------------


def lonely(small: SmallWorld) -> tuple[Host, list[Peer]]:
    """A voter that hears nobody, and the others' peers."""
    leader = small.leader()
    assert leader is not None
    alone = next(host for host in small.hosts if host is not leader)
    others = [host for host in small.hosts if host is not alone]
    small.world.network.cut([alone.number], [host.number for host in others])
    small.run(3 * SECOND // 2)
    assert peer_of(alone).raft.leader == ""
    return alone, [peer_of(host) for host in others]


def hear(alone: Host, sender: Peer, **said: object) -> None:
    """`sender` says, by a way that still works, what it follows."""
    summary = replace(sender.consensus.summary(b""), **said)  # type: ignore[arg-type]
    alone.submit(Received(sender.node, summary))


def test_who_told_of_a_leader_that_this_node_does_not_hear_is_named() -> None:
    small = SmallWorld(5)
    alone, others = lonely(small)
    follower = next(peer for peer in others if peer.raft.leadership is None)
    hear(alone, follower)
    term, leader = follower.raft.term, follower.raft.leader
    name = next(peer.settings.name for peer in others if peer.node == leader)
    words = f"{follower.settings.name} told that {name} leads term {term}, but this node gets"
    assert words in said(alone)


def test_what_was_told_before_the_leader_fell_silent_counts_for_nothing() -> None:
    small = SmallWorld(5)
    first = small.leader()
    assert first is not None
    small.run(3 * SECOND)
    crash([first, *[host for host in small.hosts if host is not first][:2]])
    assert small.run(5 * SECOND, lambda: all(why(host) for host in small.up))
    for host in small.up:
        assert " told that " not in said(host)


def test_who_lacks_committed_entries_knows_it() -> None:
    small = SmallWorld(3)
    alone, others = lonely(small)
    hear(alone, others[0], committed=10**6, leader="")
    assert f"this node lacks entries that {others[0].settings.name} told of" in said(alone)


def test_who_follows_another_log_is_named() -> None:
    small = SmallWorld(3)
    alone, others = lonely(small)
    hear(alone, others[0], log=b"x" * len(others[0].raft.log.identity), settled=True)
    assert f"{others[0].settings.name} follows another log than this node" in why(alone)


def test_a_node_asks_in_vain_while_the_others_have_a_leader() -> None:
    small = SmallWorld(3)
    alone, others = lonely(small)
    candidacy = peer_of(alone).raft.candidacy
    assert candidacy is not None
    candidacy.refusals.update(peer.node for peer in others)
    names = " and ".join(sorted(peer.settings.name for peer in others))
    assert f"{names} refused: they hear a leader, have more of the log, or voted" in said(alone)
    assert f"asks whether it would be elected in term {candidacy.term}: 1 of 3 agree" in said(alone)
