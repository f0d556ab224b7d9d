"""Plumtree's rules, one by one (Leitao, Pereira and Rodrigues 2007)."""

from __future__ import annotations

from dataclasses import replace

from overlay_hand import Hand, contact

from protocol.config import OverlayConfig
from protocol.messages.overlay import NeighbourRequest, TreeGraft, TreeHave, TreePrune, TreePush
from protocol.overlay import broadcast_tree

CONFIG = OverlayConfig()
ONE, TWO = b"1" * 16, b"2" * 16


def with_neighbours(*names: str, config: OverlayConfig = CONFIG) -> Hand:
    hand = Hand(config)
    for name in names:
        hand.say(name, NeighbourRequest(contact(name), urgent=True))
    return hand


def haves(sent: list[tuple[str, object]]) -> dict[str, list[bytes]]:
    return {
        to: [identity for identity, _ in message.broadcasts]
        for to, message in sent
        if isinstance(message, TreeHave)
    }


def test_a_broadcast_goes_to_all_eager_neighbours_and_is_delivered_here() -> None:
    hand = with_neighbours("a", "b")
    sent = hand.broadcast(b"x")
    assert [to for to, _ in sent] == ["a", "b"]
    assert hand.delivered == [b"x"]


def test_what_is_new_is_delivered_once_and_pushed_on_but_not_back() -> None:
    hand = with_neighbours("a", "b", "c")
    sent = hand.say("a", TreePush(ONE, 0, b"x"))
    assert sent == [("b", TreePush(ONE, 1, b"x")), ("c", TreePush(ONE, 1, b"x"))]
    hand.say("b", TreePush(ONE, 0, b"x"))
    assert hand.delivered == [b"x"]
    assert hand.tree.duplicates == 1


def test_who_pushes_what_is_known_is_pruned() -> None:
    hand = with_neighbours("a", "b")
    hand.say("a", TreePush(ONE, 0, b"x"))
    assert hand.say("b", TreePush(ONE, 0, b"x")) == [("b", TreePrune())]
    assert (hand.tree.eager, hand.tree.lazy) == (["a"], ["b"])


def test_who_was_pruned_only_tells_what_it_has() -> None:
    hand = with_neighbours("a", "b")
    hand.say("b", TreePrune())
    assert [to for to, _ in hand.say("a", TreePush(ONE, 0, b"x"))] == []
    hand.say("a", TreePush(TWO, 0, b"y"))
    assert haves(hand.wait(CONFIG.have_delay_ns)) == {"b": [ONE, TWO]}, "told together"


def test_what_the_tree_does_not_bring_is_grafted() -> None:
    hand = with_neighbours("a", "b")
    hand.say("b", TreePrune())
    hand.say("b", TreeHave(((ONE, 3),)))
    assert hand.wait(CONFIG.missing_timeout_ns - 1) == []
    assert hand.wait(1) == [("b", TreeGraft(ONE))]
    assert hand.tree.eager == ["a", "b"]


def test_what_the_tree_brings_in_time_is_not_grafted() -> None:
    hand = with_neighbours("a", "b")
    hand.say("b", TreeHave(((ONE, 0),)))
    hand.say("a", TreePush(ONE, 0, b"x"))
    assert not [m for _, m in hand.wait() if isinstance(m, TreeGraft)]


def test_a_graft_that_brings_nothing_is_tried_with_the_next() -> None:
    hand = with_neighbours("a", "b", "c")
    hand.say("b", TreeHave(((ONE, 3),)))
    hand.say("c", TreeHave(((ONE, 5),)))
    grafts = [to for to, m in hand.wait() if isinstance(m, TreeGraft)]
    assert grafts == ["b", "c"], "and then it ends"


def test_a_graft_is_answered_with_the_payload_and_the_link_is_of_the_tree_again() -> None:
    hand = with_neighbours("a", "b")
    hand.say("a", TreePush(ONE, 0, b"x"))
    hand.say("b", TreePrune())
    assert hand.say("b", TreeGraft(ONE)) == [("b", TreePush(ONE, 1, b"x"))]
    assert hand.tree.eager == ["a", "b"]
    assert hand.say("b", TreeGraft(TWO)) == []


def test_a_lost_neighbour_is_of_no_tree() -> None:
    hand = with_neighbours("a", "b")
    hand.say("b", TreePrune())
    hand.break_link("a")
    hand.break_link("b")
    assert (hand.tree.eager, hand.tree.lazy) == ([], [])


def test_a_new_neighbour_is_eager_and_hears_of_what_went_round_lately() -> None:
    hand = with_neighbours("a")
    hand.say("a", TreePush(ONE, 0, b"x"))
    hand.say("new", NeighbourRequest(contact("new"), urgent=False))
    assert hand.tree.eager == ["a", "new"]
    assert haves(hand.wait(CONFIG.have_delay_ns)) == {"new": [ONE]}


def test_a_much_shorter_way_takes_the_place_of_the_trees() -> None:
    hand = with_neighbours("a", "b")
    hand.say("b", TreePrune())
    hand.say("b", TreeHave(((ONE, 1),)))
    sent = hand.say("a", TreePush(ONE, 1 + CONFIG.shortcut_hops, b"x"))
    assert ("b", TreeGraft(b"")) in sent
    assert ("a", TreePrune()) in sent
    assert (hand.tree.eager, hand.tree.lazy) == (["b"], ["a"])


def test_a_way_that_is_hardly_shorter_changes_nothing() -> None:
    hand = with_neighbours("a", "b")
    hand.say("b", TreePrune())
    hand.say("b", TreeHave(((ONE, 1),)))
    hand.say("a", TreePush(ONE, CONFIG.shortcut_hops, b"x"))
    assert hand.tree.eager == ["a"]


def test_only_so_many_payloads_are_kept() -> None:
    hand = with_neighbours("a", config=replace(CONFIG, broadcasts_kept=2))
    for number in range(3):
        hand.say("a", TreePush(b"%016d" % number, 0, b"x"))
    assert hand.say("a", TreeGraft(b"%016d" % 0)) == []
    assert hand.tree.has_seen(b"%016d" % 0), "and yet it is not delivered again"


def test_who_tells_of_what_never_comes_costs_little() -> None:
    hand = with_neighbours("a")
    for number in range(0, 2 * broadcast_tree.MISSING_MAX, 1_000):
        told = tuple((b"%016d" % each, 0) for each in range(number, number + 1_000))
        hand.say("a", TreeHave(told))
    grafts = [m for _, m in hand.wait() if isinstance(m, TreeGraft)]
    assert len(grafts) == broadcast_tree.MISSING_MAX
    assert hand.wait() == []


def test_a_stranger_neither_grafts_nor_prunes() -> None:
    hand = with_neighbours("a")
    hand.say("a", TreePush(ONE, 0, b"x"))
    assert hand.say("z", TreeGraft(ONE)) == []
    assert hand.tree.eager == ["a"]
