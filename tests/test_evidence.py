"""What tells a crash, a broken link, a deaf node and a cut apart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from member_hand import CONFIG, Town

from node.doors.trouble import trouble_view
from protocol.clocks import MILLISECOND, SECOND, Nanoseconds
from protocol.events import LinkFault
from protocol.facts import Fact
from protocol.facts.membership import (
    Isolated,
    LinkBroken,
    LinkMended,
    LinkOneWay,
    MemberFailed,
    MemberSuspected,
    TeamSplit,
    TeamWhole,
)
from protocol.membership import State
from protocol.messages.membership import MemberSync, News, ReachRow, Rumor, Word

LONG = 60 * SECOND


def refuse(town: Town, at: int, of: int) -> None:
    """The node `at` finds that nobody listens where `of` says that it does."""
    turn = town.turn()
    town.machine(at).undeliverable(turn, town.nodes[of], "", LinkFault.REFUSED, "")
    town.end(at, turn)


def failures(town: Town, at: int, since: Nanoseconds = 0) -> dict[int, tuple[Nanoseconds, str]]:
    """Number of each node that failed at one -> when, and by what evidence."""
    return {
        town.nodes.index(fact.node): (time - since, fact.evidence)
        for time, number, fact in town.facts
        if number == at and isinstance(fact, MemberFailed)
    }


# -- refused connections -------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 3, 5, 16, 64])
def test_a_process_that_has_ended_is_known_at_once(size: int) -> None:
    """A reset link makes everybody dial, and the dials are refused."""
    town = Town(size)
    town.settle_in()
    began = town.now
    town.stop(size - 1)
    for at in range(min(size - 1, 4)):
        turn = town.turn()
        town.machine(at).undeliverable(turn, town.nodes[-1], "", LinkFault.RESET, "")
        town.end(at, turn)
    town.run(500 * MILLISECOND)
    for at in range(size - 1):
        (when, evidence) = failures(town, at, began)[size - 1]
        assert when < 500 * MILLISECOND
        assert evidence == "refused"
    assert town.told(MemberSuspected) == []


def test_one_witness_is_not_enough() -> None:
    town = Town(5)
    town.settle_in()
    refuse(town, 0, of=4)
    town.run(200 * MILLISECOND)
    assert town.told(MemberFailed) == []


def test_the_same_witness_counts_once() -> None:
    town = Town(5)
    town.settle_in()
    for _ in range(3):
        refuse(town, 0, of=4)
    assert town.told(MemberFailed) == []


def test_two_witnesses_are_enough() -> None:
    town = Town(5)
    town.settle_in()
    refuse(town, 0, of=4)
    refuse(town, 1, of=4)
    town.run(100 * MILLISECOND)
    assert all(town.state(at, 4) is not State.SUSPECT for at in range(4))
    assert set(failures(town, 2)) == {4}


def test_of_three_one_is_enough() -> None:
    town = Town(3)
    town.settle_in()
    refuse(town, 0, of=2)
    assert set(failures(town, 0)) == {2}


def test_who_lives_refutes_a_refusal() -> None:
    """A witness may have dialled an address that is not the member's any more."""
    town = Town(5)
    town.settle_in()
    refuse(town, 0, of=4)
    town.run(SECOND)
    assert town.machine(4).own.incarnation == 1
    refuse(town, 1, of=4)
    assert town.told(MemberFailed) == [], "the first witness spoke of an older record"


# -- silence ---------------------------------------------------------------------------------------


def test_in_a_large_team_that_has_just_come_together_all_is_known_within_six_seconds() -> None:
    """It has few connections yet; see `get_in_touch`."""
    town = Town(64)
    town.settle_in()
    town.isolate(63)
    town.run(6 * SECOND)
    assert all(63 in failures(town, at) for at in range(63))
    town = Town(64)
    town.settle_in()
    halves(town, 32)
    town.run(6 * SECOND)
    for at in range(64):
        assert set(failures(town, at)) == set(range(32, 64) if at < 32 else range(32))


@pytest.mark.parametrize("size", [2, 3, 5, 16, 64])
def test_a_silent_death_is_known_within_five_seconds(size: int) -> None:
    town = Town(size)
    town.settle_in()
    get_in_touch(town)
    began = town.now
    town.isolate(size - 1)
    town.run(5 * SECOND)
    for at in range(size - 1):
        assert failures(town, at, began)[size - 1][1] == "silence"
    assert set().union(*(failures(town, at) for at in range(size - 1))) == {size - 1}


def test_who_accuses_alone_waits_longer() -> None:
    """Lifeguard, section IV-B: a node whose own messages get lost is confirmed by nobody."""
    town = Town(8)
    town.settle_in()
    town.receive(0, town.nodes[1], accusation_of(town, 5, accuser=1))
    alone = town.machine(0).verdicts.suspicion_timeout(town.now)
    confirmed = town.machine(0).verdicts.suspicion_timeout(town.now, 3)
    assert alone == CONFIG.suspicion_beta * confirmed


def test_independent_accusers_shorten_the_wait() -> None:
    town = Town(8, replace(CONFIG, second_opinions=0))
    town.settle_in()
    town.isolate(5)
    for accuser in (1, 2, 3, 4):
        town.receive(0, town.nodes[1], accusation_of(town, 5, accuser))
        town.receive(0, town.nodes[1], accusation_of(town, 5, accuser))
    member = town.machine(0).members()[town.nodes[5]]
    assert len(member.accusers) == 4, "each counts once, and no more than are wanted"
    town.run(town.machine(0).verdicts.suspicion_timeout(town.now, 3))
    assert town.state(0, 5) is State.FAILED


def accusation_of(town: Town, of: int, accuser: int) -> MemberSync:
    epoch, incarnation = town.machine(of).own.version
    rumor = Rumor(town.nodes[of], epoch, incarnation, town.nodes[accuser], Word.SUSPECTED)
    return MemberSync(News((), (rumor,)))


def test_a_deaf_node_fails_once_and_is_called_deaf() -> None:
    """It speaks, and nothing reaches it: it cannot refute what it has not heard."""
    town = Town(6)
    town.settle_in()
    town.cut = {(other, 5) for other in range(5)}
    town.run(LONG)
    for at in range(5):
        told = town.told(MemberFailed, at)
        assert told == [MemberFailed(town.nodes[5], told[0].by, "deaf")]  # type: ignore[attr-defined]
    town.cut.clear()
    town.run(5 * SECOND)
    assert all(town.state(at, 5) is State.ALIVE for at in range(5))


# -- what a node says of it while it lasts ---------------------------------------------------------


def trouble(town: Town, at: int) -> dict[str, Any]:
    names = {node: f"n{number}" for number, node in enumerate(town.nodes)}
    return trouble_view(town.machine(at), names)


NO_TROUBLE = {
    "isolated": False,
    "split": None,
    "one_way": [],
    "broken": [],
    "deaf": [],
    "degraded": [],
    "says": [],
}


def test_a_cut_is_told_of_as_long_as_it_lasts() -> None:
    town = Town(5)
    town.settle_in()
    town.cut = {
        pair for one in (3, 4) for other in (0, 1, 2) for pair in ((one, other), (other, one))
    }
    town.run(LONG)
    large, small = trouble(town, 0), trouble(town, 4)
    assert (large["split"]["here"], large["split"]["there"]) == (3, 2)
    assert (small["split"]["here"], sorted(small["split"]["missing"])) == (2, ["n0", "n1", "n2"])
    assert large["says"] == ["the team is split: 3 nodes on this side, 2 on the other: n3 and n4"]
    town.cut.clear()
    town.run(LONG)
    assert [trouble(town, at) for at in range(5)] == [NO_TROUBLE] * 5


def test_who_is_cut_off_alone_says_so_itself() -> None:
    town = Town(4)
    town.settle_in()
    town.isolate(3)
    town.run(LONG)
    found = trouble(town, 3)
    assert found["isolated"]
    assert found["says"] == ["this node is cut off from all others: n0, n1 and n2"]
    assert trouble(town, 0)["split"] is None, "for the others it is one node that is silent"


def test_a_deaf_node_and_one_that_comes_and_goes_are_named() -> None:
    town = Town(4)
    town.settle_in()
    town.cut = {(other, 3) for other in range(3)}
    town.run(LONG)
    assert trouble(town, 0)["deaf"] == ["n3"]
    assert "spoke and did not hear: n3" in trouble(town, 0)["says"]
    for _ in range(6):
        town.cut.clear()
        town.run(5 * SECOND)
        town.isolate(3)
        town.run(20 * SECOND)
    assert trouble(town, 0)["degraded"] == ["n3"]
    assert "comes and goes, so nothing is built on it: n3" in trouble(town, 0)["says"]


# -- links -----------------------------------------------------------------------------------------


def facts_about_links(town: Town) -> set[Fact]:
    return {
        fact for _, _, fact in town.facts if isinstance(fact, LinkBroken | LinkOneWay | LinkMended)
    }


def test_a_broken_link_is_named_and_nobody_fails() -> None:
    town = Town(6)
    town.settle_in()
    town.cut = {(1, 4), (4, 1)}
    town.run(LONG)
    assert facts_about_links(town) == {LinkBroken(*sorted((town.nodes[1], town.nodes[4])))}
    assert len(town.told(LinkBroken)) >= 6, "everybody knows"
    assert town.told(MemberFailed) == town.told(MemberSuspected) == []
    assert sorted(trouble(town, 2)["broken"][0]) == ["n1", "n4"]
    town.facts.clear()
    town.cut.clear()
    town.run(LONG)
    assert trouble(town, 2) == NO_TROUBLE
    assert facts_about_links(town) == {LinkMended(*sorted((town.nodes[1], town.nodes[4])))}


def test_a_one_way_link_is_told_from_a_broken_one() -> None:
    town = Town(6)
    town.settle_in()
    town.cut = {(1, 4)}  # what 1 sends does not reach 4
    town.run(LONG)
    assert facts_about_links(town) == {LinkOneWay(town.nodes[4], town.nodes[1])}
    assert town.told(MemberFailed) == []
    for at in (0, 1, 4):  # both ends among them
        assert trouble(town, at)["one_way"] == [{"speaker": "n4", "hearer": "n1"}]
        assert trouble(town, at)["says"] == [
            "the link of n4 and n1 works one way: n1 hears n4 and is not heard"
        ]
    town.stop(4)
    town.run(LONG)
    assert trouble(town, 0)["one_way"] == [], "what has ended has no links"


def test_one_end_alone_blames_no_link() -> None:
    town = Town(4)
    town.settle_in()
    row = ReachRow(town.nodes[1], 1, 1, 2, (), (town.nodes[2],))
    town.receive(0, town.nodes[1], MemberSync(News((), (), (row,))))
    assert facts_about_links(town) == set()


def test_an_older_row_changes_nothing() -> None:
    town = Town(4)
    town.settle_in()
    rows = [ReachRow(town.nodes[1], 1, n, 2, (), (town.nodes[n],)) for n in (3, 2)]
    for row in rows:
        town.receive(0, town.nodes[1], MemberSync(News((), (), (row,))))
    assert town.machine(0).reach.rows() == [rows[0]]


# -- cuts ------------------------------------------------------------------------------------------


def get_in_touch(town: Town) -> None:
    """A large team that has just come together has few connections, and gets more with time."""
    town.run(len(town.nodes) * SECOND // 4)


def halves(town: Town, first: int) -> None:
    size = len(town.nodes)
    town.cut = {(a, b) for a in range(size) for b in range(size) if (a < first) is not (b < first)}


@pytest.mark.parametrize("size", [5, 16, 64])
def test_a_cut_is_known_to_all_within_five_seconds_and_healed_within_three(size: int) -> None:
    town = Town(size)
    town.settle_in()
    get_in_touch(town)
    half = size // 2
    halves(town, half)
    town.run(5 * SECOND)
    for at in range(size):
        other_side = range(half, size) if at < half else range(half)
        assert set(failures(town, at)) == set(other_side), "all of them, and nobody else"
    town.run(25 * SECOND)
    town.stop(0)  # the seed of them all
    town.run(5 * SECOND)
    town.cut.clear()
    town.run(3 * SECOND)
    for at in range(1, size):
        assert len(town.machine(at).alive()) == size - 2


def test_both_sides_of_a_cut_know_how_many_they_are() -> None:
    town = Town(7)
    town.settle_in()
    halves(town, 3)
    town.run(20 * SECOND)
    for at in range(7):
        expected = TeamSplit(3, 4) if at < 3 else TeamSplit(4, 3)
        assert town.told(TeamSplit, at) == [expected]
    town.cut.clear()
    town.run(20 * SECOND)
    for at in range(7):
        assert town.told(TeamWhole, at)[-1] == TeamWhole(7)


def test_who_is_cut_off_alone_knows_that_it_is_the_one() -> None:
    town = Town(5)
    town.settle_in()
    town.isolate(2)
    town.run(30 * SECOND)
    assert town.told(Isolated) == town.told(Isolated, 2) == [Isolated(4)]
    assert town.told(TeamSplit) == []


def test_one_crash_is_no_cut() -> None:
    town = Town(5)
    town.settle_in()
    town.stop(2)
    town.run(30 * SECOND)
    assert town.told(MemberFailed)
    assert town.told(TeamSplit) == town.told(Isolated) == []
