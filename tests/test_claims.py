"""From equal stores every node derives equal claims."""

from __future__ import annotations

from itertools import permutations

import pytest
from ledger_hand import ADA, BOB, CAT

from protocol import claims, codec
from protocol.claims import Claim, ClaimBook, Phase
from protocol.identity import NodeId
from protocol.ledger import TOKEN_MAX, Unit
from protocol.store import Version

UNIT = ("job", "a", 0)


def version(claim: Claim, sequence: int = 1, author: NodeId | None = None) -> Version:
    """The claim as its node wrote it, or as somebody else did."""
    return Version(author or claim.node, sequence, codec.pack_value(claim), 0)


def test_a_claim_key_names_its_unit() -> None:
    assert claims.claim_key(UNIT) == "claim/job/a/0"
    assert claims.unit_of("claim/job/a/0") == UNIT


def test_other_keys_name_no_unit() -> None:
    for key in ("", "claim", "claim/job/a", "claim/job/a/x", "claim/job/a/0/1", "part/job/a/0"):
        assert claims.unit_of(key) is None


def test_the_higher_token_wins() -> None:
    book = ClaimBook()
    held = book.learn(
        UNIT, [version(Claim(ADA, 2, Phase.WORKING)), version(Claim(BOB, 1, Phase.DONE))], 5
    )
    assert held is not None
    assert (held.claim.node, held.heard_at) == (ADA, 5)


def test_of_equal_tokens_one_wins_whatever_the_order() -> None:
    siblings = [version(Claim(node, 1, Phase.WORKING)) for node in (ADA, BOB, CAT)]
    winners = set()
    for order in permutations(siblings):
        held = ClaimBook().learn(UNIT, order, 0)
        assert held is not None
        winners.add(held.claim.node)
    assert winners == {max((ADA, BOB, CAT), key=lambda node: claims.score(UNIT, node))}


def test_nobody_claims_for_another() -> None:
    forged = version(Claim(ADA, 9, Phase.WORKING), author=BOB)
    assert ClaimBook().learn(UNIT, [forged], 0) is None


def test_an_illegible_claim_counts_for_nothing() -> None:
    good = version(Claim(ADA, 1, Phase.WORKING))
    held = ClaimBook().learn(UNIT, [Version(BOB, 1, b"garbage", 0), good], 0)
    assert held is not None
    assert held.claim.node == ADA


def test_a_renewal_is_heard_and_a_repetition_is_not() -> None:
    book = ClaimBook()
    claim = Claim(ADA, 1, Phase.WORKING)
    first = book.learn(UNIT, [version(claim, 1)], 10)
    assert book.learn(UNIT, [version(claim, 1)], 20) is first
    renewed = book.learn(UNIT, [version(claim, 2)], 30)
    assert renewed is not None
    assert renewed.heard_at == 30


def test_the_claims_of_a_finished_job_are_forgotten() -> None:
    book = ClaimBook()
    book.learn(UNIT, [version(Claim(ADA, 1, Phase.WORKING))], 0)
    book.forget("other")
    assert book.get(UNIT) is not None
    book.forget("job")
    assert book.get(UNIT) is None


def test_the_idle_order_is_the_same_for_all_and_another_for_each_job() -> None:
    nodes = [NodeId(f"n{number}") for number in range(8)]
    assert claims.idle_order(nodes, "j") == claims.idle_order(list(reversed(nodes)), "j")
    assert claims.idle_order(nodes, "j") != claims.idle_order(nodes, "k")


def test_equally_urgent_units_are_shared_out_one_each() -> None:
    nodes = [NodeId(f"n{number}") for number in range(8)]
    for many in (3, 8, 20):
        units = [("job", f"t{number}", 0) for number in range(many)]
        shares = claims.share_out(units, nodes, frozenset(nodes))
        assert len(shares) == len(set(shares.values())) == min(many, 8)
        assert shares == claims.share_out(units, nodes[::-1], frozenset(nodes))
        for unit, node in shares.items():  # of one that has taken its share, all have heard
            rest = [each for each in units if each != unit]
            idle = [each for each in nodes if each != node]
            left = claims.share_out(rest, idle, frozenset(nodes))
            assert left.items() >= shares.items() - {(unit, node)}


def test_a_slightly_different_view_changes_few_shares() -> None:
    nodes = [NodeId(f"n{number}") for number in range(60)]
    units = [("job", f"t{number}", 0) for number in range(50)]
    shares = claims.share_out(units, nodes, frozenset(nodes))
    for unit in units[:10]:
        less = claims.share_out([u for u in units if u != unit], nodes, frozenset(nodes))
        assert len(less.items() - shares.items()) <= 8


def test_to_share_out_costs_no_look_at_every_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [NodeId(f"n{number}") for number in range(200)]
    units = [("job", f"t{number}", 0) for number in range(199)]
    known = frozenset(nodes)
    for unit in units:
        claims.suited_best(unit, known)
    looks: list[object] = []
    score = claims.score

    def counted(unit: Unit, node: NodeId) -> bytes:
        looks.append((unit, node))
        return score(unit, node)

    monkeypatch.setattr(claims, "score", counted)
    assert len(claims.share_out(units, nodes, known)) == 199
    assert len(looks) <= len(nodes) + len(units)


def test_whoever_is_still_at_work_goes_before_whoever_gave_up() -> None:
    """Else good work is aborted for a claim that nobody holds."""
    for working, released in permutations([ADA, BOB, CAT], 2):
        book = ClaimBook()
        held = book.learn(
            UNIT,
            [
                version(Claim(working, 1, Phase.WORKING)),
                version(Claim(released, 1, Phase.RELEASED)),
            ],
            0,
        )
        assert held is not None
        assert held.claim.node == working


def test_a_unit_has_one_key() -> None:
    for key in ("claim/job/a/00", "claim/job/a/\u0660", "claim/job/a/+0"):
        assert claims.unit_of(key) is None


def test_a_token_beyond_counting_is_no_claim() -> None:
    book = ClaimBook()
    assert book.learn(UNIT, [version(Claim(ADA, TOKEN_MAX + 1, Phase.WORKING))], 0) is None
