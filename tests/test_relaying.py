"""Relaying: a signed message goes around a broken link by one hop, and is taken once."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from protocol import relaying as module
from protocol.clocks import MILLISECOND, SECOND, Nanoseconds
from protocol.errors import RemoteProtocolError
from protocol.identity import Identity, NodeId
from protocol.messages.agreement import Relay
from protocol.relaying import FLOOD_SIZE_MAX, WAY_FRESH, Relaying

WAIT: Nanoseconds = 250 * MILLISECOND
ADA, BOB, CAT, DAN = (Identity(name * 32) for name in (b"a", b"b", b"c", b"d"))
FRAME = b"a frame"


def relaying(identity: Identity, epoch: int = 1) -> Relaying:
    return Relaying(identity, "team", epoch, WAIT)


def unwrap(
    node: Relaying, relay: Relay, sender: Identity = CAT, now: Nanoseconds = 0
) -> bytes | None:
    """What `node` makes of a message that it believes to be Ada's."""
    return node.unwrap(sender.node, relay, ADA.public_key, now)


def test_a_relayed_message_comes_out_as_it_went_in() -> None:
    relay = relaying(ADA).wrap(BOB.node, FRAME)
    assert unwrap(relaying(BOB), relay) == FRAME


@pytest.mark.parametrize(
    "change",
    [
        {"frame": b"b frame"}, {"number": 7}, {"signature": b"x" * 64}, {"signature": b""},
        {"origin": CAT.node},
    ],
)  # fmt: skip
def test_nobody_can_change_what_is_relayed(change: dict[str, object]) -> None:
    relay = replace(relaying(ADA).wrap(BOB.node, FRAME), **change)  # type: ignore[arg-type]
    with pytest.raises(RemoteProtocolError):
        relaying(BOB).unwrap(CAT.node, relay, ADA.public_key, 0)


def test_what_was_meant_for_another_node_or_team_is_not_taken() -> None:
    relay = relaying(ADA).wrap(BOB.node, FRAME)
    assert unwrap(relaying(DAN), relay) is None
    diverted = replace(relay, destination=DAN.node)
    with pytest.raises(RemoteProtocolError):
        unwrap(relaying(DAN), diverted)
    with pytest.raises(RemoteProtocolError):
        unwrap(Relaying(BOB, "other team", 1, WAIT), relay)


def test_a_stranger_is_not_believed() -> None:
    relay = relaying(ADA).wrap(BOB.node, FRAME)
    with pytest.raises(RemoteProtocolError):
        relaying(BOB).unwrap(CAT.node, relay, None, 0)


def test_a_node_takes_nothing_for_its_own_word() -> None:
    ada = relaying(ADA)
    relay = ada.wrap(ADA.node, FRAME)
    assert ada.unwrap(CAT.node, relay, ADA.public_key, 0) is None


# -- once ------------------------------------------------------------------------------------------


def test_a_message_that_comes_by_several_ways_is_taken_once() -> None:
    relay, bob = relaying(ADA).wrap(BOB.node, FRAME), relaying(BOB)
    assert [unwrap(bob, relay, sender) for sender in (CAT, DAN, CAT)] == [FRAME, None, None]


def test_two_messages_alike_are_two() -> None:
    ada, bob = relaying(ADA), relaying(BOB)
    first, second = ada.wrap(BOB.node, FRAME), ada.wrap(BOB.node, FRAME)
    assert unwrap(bob, second) == unwrap(bob, first) == FRAME


def test_a_later_life_is_not_taken_for_a_repetition_of_the_earlier_one() -> None:
    bob = relaying(BOB)
    before = [relaying(ADA, epoch=1).wrap(BOB.node, FRAME) for _ in range(3)]
    after = relaying(ADA, epoch=2).wrap(BOB.node, FRAME)
    assert unwrap(bob, before[0]) == FRAME
    assert unwrap(bob, after) == FRAME


def test_a_message_is_not_taken_again_when_it_has_been_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where it overtook others: it was the first of those that are remembered then, and
    not the lowest."""
    monkeypatch.setattr(module, "SEEN_MAX", 8)
    random = Random(1)
    ada, bob = relaying(ADA), relaying(BOB)
    relays = [ada.wrap(BOB.node, FRAME) for _ in range(60)]
    order = sorted(range(60), key=lambda number: number + random.randrange(6))
    taken = [number for number in order if unwrap(bob, relays[number]) == FRAME]
    assert len(taken) > 50, "the memory is short, but not that short"
    for number in random.sample(range(60), 60):
        assert unwrap(bob, relays[number]) is None or number not in taken
    seen = bob._seen[ADA.node]
    assert len(seen.numbers) == len(seen.order) == 8


# -- one hop ---------------------------------------------------------------------------------------


def test_whoever_gets_it_from_the_origin_passes_it_on_and_nobody_else_does() -> None:
    relay = relaying(ADA).wrap(BOB.node, FRAME)
    cat, dan = relaying(CAT), relaying(DAN)
    assert cat.may_pass_on(ADA.node, relay)
    assert not dan.may_pass_on(CAT.node, relay), "it has had its hop"
    assert not relaying(BOB).may_pass_on(ADA.node, relay), "it is there"
    assert (cat.relayed, dan.relayed) == (1, 0)


# -- silence ---------------------------------------------------------------------------------------


def test_whoever_owes_a_direct_answer_for_too_long_is_silent() -> None:
    ada = relaying(ADA)
    assert not ada.is_silent(BOB.node, 10 * SECOND), "nothing was asked"
    ada.asked(BOB.node, SECOND)
    ada.asked(BOB.node, SECOND + WAIT)  # it counts from the first question
    assert not ada.is_silent(BOB.node, SECOND + WAIT)
    assert ada.is_silent(BOB.node, SECOND + WAIT + 1)
    ada.heard(BOB.node, SECOND + WAIT + 2)
    assert not ada.is_silent(BOB.node, 9 * SECOND)
    ada.asked(BOB.node, 9 * SECOND)
    assert not ada.is_silent(BOB.node, 9 * SECOND + WAIT)


def test_a_roundabout_answer_does_not_end_the_silence() -> None:
    ada, bob = relaying(ADA), relaying(BOB)
    ada.asked(BOB.node, 0)
    answer = bob.wrap(ADA.node, FRAME)
    assert ada.unwrap(CAT.node, answer, BOB.public_key, SECOND) == FRAME
    assert ada.is_silent(BOB.node, SECOND)


def test_whoever_sends_the_long_way_may_not_hear_us_for_a_while() -> None:
    bob = relaying(BOB)
    assert not bob.is_deaf(ADA.node, 0)
    unwrap(bob, relaying(ADA).wrap(BOB.node, FRAME), now=SECOND)
    assert bob.is_deaf(ADA.node, SECOND + WAY_FRESH * WAIT - 1)
    assert not bob.is_deaf(ADA.node, SECOND + WAY_FRESH * WAIT)


def test_a_forged_message_makes_nobody_deaf() -> None:
    bob = relaying(BOB)
    forged = replace(relaying(ADA).wrap(BOB.node, FRAME), frame=b"x")
    with pytest.raises(RemoteProtocolError):
        unwrap(bob, forged)
    assert not bob.is_deaf(ADA.node, 0)


# -- the ways --------------------------------------------------------------------------------------

OTHERS = [node.node for node in (ADA, BOB, CAT, DAN)]


def test_a_small_message_goes_through_all_until_an_answer_tells_the_way() -> None:
    ada = relaying(ADA)
    assert ada.ways_to(BOB.node, 0, 100, OTHERS) == [CAT.node, DAN.node]
    ada.unwrap(DAN.node, relaying(BOB).wrap(ADA.node, FRAME), BOB.public_key, 0)
    assert ada.ways_to(BOB.node, 0, 100, OTHERS) == [DAN.node]
    late = WAY_FRESH * WAIT
    assert ada.ways_to(BOB.node, late, 100, OTHERS) == [CAT.node, DAN.node]


def test_a_large_message_goes_by_a_known_way_only() -> None:
    ada = relaying(ADA)
    assert ada.ways_to(BOB.node, 0, FLOOD_SIZE_MAX, OTHERS) == [CAT.node, DAN.node]
    assert ada.ways_to(BOB.node, 0, FLOOD_SIZE_MAX + 1, OTHERS) == []
    ada.unwrap(DAN.node, relaying(BOB).wrap(ADA.node, FRAME), BOB.public_key, 0)
    assert ada.ways_to(BOB.node, 0, 10 * FLOOD_SIZE_MAX, OTHERS) == [DAN.node]


def test_nobody_goes_through_the_silent() -> None:
    ada = relaying(ADA)
    ada.asked(CAT.node, 0)
    assert ada.ways_to(BOB.node, SECOND, 100, OTHERS) == [DAN.node]


# -- reach -----------------------------------------------------------------------------------------


def test_reach_counts_this_node_and_whoever_it_hears_directly() -> None:
    ada, window = relaying(ADA), 6 * SECOND
    voters = OTHERS
    assert ada.reach(voters, 0, window) == 1
    ada.heard(BOB.node, SECOND)
    ada.heard(CAT.node, SECOND)
    ada.heard(NodeId("no voter"), SECOND)
    assert ada.reach(voters, 2 * SECOND, window) == 3
    assert ada.reach(voters, 7 * SECOND, window) == 1, "that is too long ago"
    ada.heard(CAT.node, 7 * SECOND)
    ada.asked(CAT.node, 7 * SECOND)
    assert ada.reach(voters, 8 * SECOND, window) == 1, "it is silent"
    assert ada.reach([BOB.node], 2 * SECOND, window) == 1, "this node does not vote"
