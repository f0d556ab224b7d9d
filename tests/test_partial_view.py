"""HyParView's rules, one by one (Leitao, Pereira and Rodrigues 2007), and what a crowd does."""

from __future__ import annotations

from overlay_hand import CONFIG, Hand, contact

from protocol.clocks import SECOND
from protocol.messages.overlay import (
    Disconnect,
    JoinRequest,
    JoinWalk,
    LinkTest,
    NeighbourReply,
    NeighbourRequest,
    Shuffle,
    ShuffleReply,
)
from protocol.sim.studies.hyparview import founded, overlay_of


def with_neighbours(*names: str) -> Hand:
    hand = Hand()
    for name in names:
        hand.say(name, NeighbourRequest(contact(name), urgent=True))
    assert hand.view.active == list(names)
    return hand


def knows(hand: Hand, *names: str) -> None:
    hand.say("x", ShuffleReply(tuple(contact(name) for name in names)))


def of_kind(sent: list[tuple[str, object]], kind: type) -> list[str]:
    return [to for to, message in sent if isinstance(message, kind)]


# -- joining (4.2) -------------------------------------------------------------------------------


def test_a_newcomer_asks_its_seed() -> None:
    hand = Hand(seeds=("seed:1", "me:1"))
    assert hand.wait(0) == [("seed:1", JoinRequest(contact("me")))]


def test_the_contact_takes_the_newcomer_in_and_sends_walks_to_all_others() -> None:
    hand = with_neighbours("a", "b")
    sent = hand.say("new", JoinRequest(contact("new")))
    assert hand.view.active == ["a", "b", "new"]
    assert ("new", NeighbourReply(contact("me"), True)) in sent
    walk = JoinWalk(contact("new"), CONFIG.join_walk)
    assert [each for each in sent if isinstance(each[1], JoinWalk)] == [("a", walk), ("b", walk)]


def test_a_full_contact_makes_room_and_keeps_whom_it_dropped_as_a_contact() -> None:
    hand = with_neighbours("a", "b", "c")
    (dropped,) = of_kind(hand.say("new", JoinRequest(contact("new"))), Disconnect)
    assert len(hand.view.active) == CONFIG.active_max
    assert "new" in hand.view.active
    assert hand.view.passive == [dropped]


def test_a_walk_goes_on_but_not_back() -> None:
    hand = with_neighbours("a", "b")
    assert hand.say("a", JoinWalk(contact("new"), 5)) == [("b", JoinWalk(contact("new"), 4))]
    assert hand.view.passive == []


def test_on_its_way_a_walk_leaves_a_contact() -> None:
    hand = with_neighbours("a", "b")
    hand.say("a", JoinWalk(contact("new"), CONFIG.join_walk_passive))
    assert hand.view.passive == ["new"]


def test_where_a_walk_ends_the_newcomer_gets_a_neighbour() -> None:
    hand = with_neighbours("a", "b")
    sent = hand.say("a", JoinWalk(contact("new"), 0))
    assert sent == [("new", NeighbourRequest(contact("me"), urgent=True))]
    assert "new" in hand.view.active


def test_a_walk_ends_where_it_cannot_go_on() -> None:
    hand = with_neighbours("a")
    hand.say("a", JoinWalk(contact("new"), 6))
    assert "new" in hand.view.active


def test_a_walk_that_claims_to_be_endless_is_not() -> None:
    hand = with_neighbours("a", "b")
    ((_, walk),) = hand.say("a", JoinWalk(contact("new"), 10**6))
    assert isinstance(walk, JoinWalk)
    assert walk.hops == CONFIG.join_walk - 1


def test_who_is_alone_calls_its_seed_again() -> None:
    hand = Hand(seeds=("seed:1",))
    hand.wait(0)
    assert of_kind(hand.wait(CONFIG.shuffle_interval_ns), JoinRequest) == ["seed:1"]


# -- neighbours (4.3) ----------------------------------------------------------------------------


def test_a_lost_neighbour_is_replaced_from_the_contacts() -> None:
    hand = with_neighbours("a", "b", "c")
    knows(hand, "d")
    sent = hand.break_link("a")
    assert of_kind(sent, NeighbourRequest) == ["d"]
    hand.say("d", NeighbourReply(contact("d"), True))
    assert hand.view.active == ["b", "c", "d"]
    assert hand.view.passive == []


def test_a_contact_that_declines_is_kept_and_another_is_asked() -> None:
    hand = with_neighbours("a", "b", "c")
    knows(hand, "d", "e")
    (first,) = of_kind(hand.break_link("a"), NeighbourRequest)
    (second,) = of_kind(hand.say(first, NeighbourReply(contact(first), False)), NeighbourRequest)
    assert {first, second} == {"d", "e"}
    assert hand.say(second, NeighbourReply(contact(second), False)) == [], "all have been asked"
    assert set(hand.view.passive) == {"d", "e"}


def test_a_contact_that_cannot_be_reached_is_dropped_and_another_is_asked() -> None:
    hand = with_neighbours("a", "b", "c")
    knows(hand, "d", "e")
    (first,) = of_kind(hand.break_link("a"), NeighbourRequest)
    (second,) = of_kind(hand.break_link(first), NeighbourRequest)
    assert hand.view.passive == [second]


def test_a_contact_that_is_silent_counts_as_unreachable() -> None:
    hand = with_neighbours("a", "b", "c")
    knows(hand, "d")
    hand.break_link("a")
    hand.wait(CONFIG.request_timeout_ns)
    assert hand.view.passive == []


def test_who_has_no_neighbour_left_asks_urgently_even_those_who_declined() -> None:
    hand = with_neighbours("a", "b", "c")
    knows(hand, "d")
    hand.break_link("a")
    hand.say("d", NeighbourReply(contact("d"), False))
    hand.break_link("b")
    sent = hand.break_link("c")
    assert ("d", NeighbourRequest(contact("me"), urgent=True)) in sent


def test_a_request_is_accepted_while_there_is_room() -> None:
    hand = with_neighbours("a", "b")
    sent = hand.say("c", NeighbourRequest(contact("c"), urgent=False))
    assert ("c", NeighbourReply(contact("me"), True)) in sent
    assert hand.view.active == ["a", "b", "c"]


def test_a_full_node_declines_unless_it_is_urgent() -> None:
    hand = with_neighbours("a", "b", "c")
    sent = hand.say("d", NeighbourRequest(contact("d"), urgent=False))
    assert ("d", NeighbourReply(contact("me"), False)) in sent
    sent = hand.say("d", NeighbourRequest(contact("d"), urgent=True))
    assert ("d", NeighbourReply(contact("me"), True)) in sent
    assert len(of_kind(sent, Disconnect)) == 1
    assert "d" in hand.view.active


def test_a_disconnected_neighbour_becomes_a_contact_and_is_not_asked_at_once() -> None:
    hand = with_neighbours("a", "b", "c")
    assert of_kind(hand.say("a", Disconnect()), NeighbourRequest) == []
    assert hand.view.active == ["b", "c"]
    assert hand.view.passive == ["a"]


def test_an_answer_that_comes_too_late_is_taken_back() -> None:
    hand = with_neighbours("a", "b", "c")
    knows(hand, "d")
    hand.break_link("a")
    hand.say("e", NeighbourRequest(contact("e"), urgent=False))
    assert hand.say("d", NeighbourReply(contact("d"), True)) == [("d", Disconnect())]
    assert hand.view.active == ["b", "c", "e"]


def test_a_lost_neighbour_makes_the_other_links_be_tested() -> None:
    hand = with_neighbours("a", "b", "c")
    hand.wait(2 * CONFIG.request_timeout_ns)
    assert of_kind(hand.break_link("a"), LinkTest) == ["b", "c"]
    assert of_kind(hand.break_link("b"), LinkTest) == [], "seldom"


def test_who_is_asked_for_a_place_tests_its_links() -> None:
    hand = with_neighbours("a", "b", "c")
    hand.wait(2 * CONFIG.request_timeout_ns)
    sent = hand.say("d", NeighbourRequest(contact("d"), urgent=False))
    assert of_kind(sent, LinkTest) == ["a", "b", "c"]


def test_who_uses_a_link_that_is_none_hears_of_it() -> None:
    hand = with_neighbours("a")
    assert hand.say("b", LinkTest()) == [("b", Disconnect())]
    assert hand.say("a", LinkTest()) == []


# -- contacts (4.4) ------------------------------------------------------------------------------


def test_a_shuffle_offers_neighbours_and_contacts_to_one_neighbour() -> None:
    hand = with_neighbours("a", "b", "c")
    knows(hand, "d", "e")
    sent = hand.wait(CONFIG.shuffle_interval_ns)
    ((to, shuffle),) = [each for each in sent if isinstance(each[1], Shuffle)]
    assert to in hand.view.active
    assert isinstance(shuffle, Shuffle)
    assert shuffle.origin == contact("me")
    assert shuffle.hops == CONFIG.shuffle_walk
    assert {each.node for each in shuffle.contacts} == {"a", "b", "c", "d", "e"}


def test_a_shuffle_walks_on() -> None:
    hand = with_neighbours("a", "b")
    shuffle = Shuffle(contact("far"), 4, (contact("x"),))
    assert hand.say("a", shuffle) == [("b", Shuffle(contact("far"), 3, (contact("x"),)))]
    assert hand.view.passive == []


def test_where_a_shuffle_ends_contacts_are_exchanged() -> None:
    hand = with_neighbours("a", "b")
    knows(hand, "d")
    sent = hand.say("a", Shuffle(contact("far"), 1, (contact("x"), contact("me"), contact("b"))))
    assert sent == [("far", ShuffleReply((contact("d"),)))]
    assert set(hand.view.passive) == {"d", "far", "x"}, "neither itself nor a neighbour"


def test_room_for_new_contacts_is_made_by_those_that_were_sent() -> None:
    hand = with_neighbours("a")
    knows(hand, "p1", "p2", "p3", "p4", "p5")
    sent = hand.say("a", Shuffle(contact("far"), 1, (contact("x"),)))
    ((_, reply),) = sent
    assert isinstance(reply, ShuffleReply)
    gone = {"p1", "p2", "p3", "p4", "p5"} - set(hand.view.passive)
    assert gone == {each.node for each in reply.contacts}
    assert len(hand.view.passive) == CONFIG.passive_max


def test_more_contacts_than_agreed_are_not_taken() -> None:
    hand = with_neighbours("a")
    knows(hand, *(f"fake{number}" for number in range(1_000)))
    assert len(hand.view.passive) == CONFIG.passive_max


# -- a crowd -------------------------------------------------------------------------------------


def test_a_crowd_is_connected_and_its_links_are_symmetric() -> None:
    country = founded(300, seed=1)
    crowd = country.crowd
    assert country.largest_part() == 300
    views = {place.node: overlay_of(place).view for place in crowd.places}
    for node, view in views.items():
        assert node not in view.active
        assert not set(view.active) & set(view.passive)
        one_sided = [other for other in view.active if not views[other].is_neighbour(node)]
        assert len(one_sided) <= 1, "but for one that is just being made"
    payload = country.broadcast()
    crowd.run(crowd.now + 4 * SECOND)
    assert country.reached([payload]) == 1.0


def test_nobody_is_left_alone_when_half_of_a_crowd_fails() -> None:
    country = founded(200, seed=2)
    for place in country.random.sample(country.crowd.places, 100):
        country.crowd.fail(place)
    first = country.broadcast()
    country.crowd.run(country.crowd.now + 10 * SECOND)
    assert country.largest_part() == 100
    assert country.reached([first]) > 0.95
    second = country.broadcast()
    country.crowd.run(country.crowd.now + 4 * SECOND)
    assert country.reached([second]) == 1.0


def test_contacts_are_where_they_say() -> None:
    hand = with_neighbours("a")
    knows(hand, "d")
    assert hand.view.endpoints_of(contact("d").node) == ("d:1",)
    assert hand.view.endpoints_of(contact("a").node) == ("a:1",)
    assert hand.view.endpoints_of(contact("z").node) == ()
