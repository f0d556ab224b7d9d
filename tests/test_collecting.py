"""Collected batches, late returners, deletions that stay, and authors with two histories."""

from __future__ import annotations

from random import Random

import pytest
from aimed_plans import AIMS
from hypothesis import given
from hypothesis import strategies as st
from properties import bounded

from protocol import codec
from protocol.identity import Identity, NodeId
from protocol.messages.sharing import Collected, Holding
from protocol.sim.scenario import Verdict, simulate
from protocol.store import Equivocation, Families, Join, Matrix, Store
from protocol.store.batches import open_batch
from protocol.store.families import Members, Number

IDENTITIES = [Identity(bytes([number]) * 32) for number in range(1, 5)]
KEYS = ("k", "l", "m")


def new_store(who: int = 0, quota: int = 1_000, families: Families | None = None) -> Store:
    return Store(IDENTITIES[who], "team", quota, families=families)


def bring(source: Store, target: Store, size_max: int = 10**9) -> bool:
    """One exchange, as gossip does it; whether something collected had to be skipped."""
    skipped = False
    for _ in range(1_000):
        lacking = source.missing(target.vector(), size_max)
        gaps = {(gap.author, gap.first): gap for gap in lacking.collected}
        for batch in lacking.batches:
            author = target.author_of(batch)
            gap = gaps.pop((author, target.last_of(author) + 1), None)
            skipped |= gap is not None and target.skip(gap)
            target.merge(batch)
        for gap in gaps.values():
            skipped |= target.skip(gap)
        if not lacking.more:
            break
    if skipped:
        holdings, _ = source.holdings(NodeId(""))
        for holding in holdings:
            target.reconcile(holding)
    return skipped


def shown(store: Store) -> dict[str, list[bytes]]:
    return {key: [version.value for version in store.read(key)] for key in store.scan()}


# -- collecting ------------------------------------------------------------------------------------


def test_a_newcomer_shows_what_the_others_show_that_have_as_much() -> None:
    """What replaced a value has to be everywhere as well before that is dropped: who has had the
    one and not the other shows it (seed 187528414)."""
    writer, slow, newcomer = new_store(0), new_store(1), new_store(2)
    writer.write([("k", b"1")], 1)
    bring(writer, slow)
    writer.write([("k", b"2")], 2)
    own = writer.identity.node
    assert writer.collect(slow.vector()) == []
    first = writer.missing({}, 1).batches[0]
    newcomer.merge(first)
    assert newcomer.vector() == slow.vector()
    assert shown(newcomer) == shown(slow) == {"k": [b"1"]}
    bring(writer, slow)
    assert writer.collect(slow.vector()) == [(own, 1)]


def test_so_it_is_with_what_was_overwritten_before_it_came() -> None:
    one, other, late = new_store(0), new_store(1), new_store(2)
    one.write([("k", b"1")], 1)
    bring(one, other)
    other.write([("k", b"2")], 2)
    late.merge(other.missing({other.identity.node: 0, one.identity.node: 9}, 10**9).batches[0])
    late.merge(one.missing({}, 10**9).batches[0])
    late.write([("m", b"")], 3)
    one.write([("m", b"")], 3)
    late.merge(one.missing({one.identity.node: 1}, 10**9).batches[0])
    dot = (one.identity.node, 1)
    assert dot not in late.collect({one.identity.node: 2})
    assert dot in late.collect({one.identity.node: 2, other.identity.node: 1})


def test_what_everybody_has_and_nothing_counts_of_is_dropped() -> None:
    store = new_store()
    for number in range(10):
        store.write([("k", b"%d" % number)], number)
    own = store.identity.node
    assert store.collect({own: 5}) == [(own, number) for number in range(1, 5)]
    assert shown(store) == {"k": [b"9"]}
    assert store.vector() == {own: 10}, "the digest does not go back"


def test_what_somebody_lacks_is_kept() -> None:
    store = new_store()
    store.write([("k", b"1")], 1)
    store.write([("k", b"2")], 2)
    assert store.collect({}) == []


def test_a_batch_with_one_value_that_counts_is_kept() -> None:
    store = new_store()
    store.write([("k", b"1"), ("l", b"1")], 1)
    store.write([("k", b"2")], 2)
    assert store.collect(store.vector()) == []
    assert shown(store) == {"k": [b"2"], "l": [b"1"]}


def test_a_newcomer_gets_what_counts_and_no_more() -> None:
    source, target = new_store(0), new_store(1)
    for number in range(100):
        source.write([("k", bytes(1_000))], number)
    source.collect(source.vector())
    lacking = source.missing({}, 10**9)
    assert len(lacking.batches) == 1
    bring(source, target)
    assert shown(target) == shown(source)
    assert target.fingerprint() == source.fingerprint()
    assert target.vector() == source.vector()


def test_a_deletion_is_kept_as_long_as_anything_of_its_key() -> None:
    """Who gets the batch that wrote the key must also get what deleted it."""
    source = new_store()
    source.write([("k", b"1"), ("l", b"1")], 1)  # stays, for the sake of l
    source.write([("k", None)], 2)
    source.write([("m", b"")], 3)
    assert source.collect(source.vector()) == []
    target = new_store(1)
    bring(source, target)
    assert shown(target) == {"l": [b"1"], "m": [b""]}


def test_deletions_that_did_not_know_of_each_other_leave_no_trace() -> None:
    """As on both sides of a cut: each would wait for ever for the other to go, and count against
    its author's quota."""
    stores = [new_store(number) for number in range(3)]
    stores[0].write([("k", b"1")], 1)
    bring(stores[0], stores[1])
    for at in range(2):
        stores[at].write([("k", None)], 2 + at)
        stores[at].write([("m", b"")], 4)
    for source in stores[:2]:
        for target in stores:
            bring(source, target)
    for store in stores:
        for _ in range(3):
            store.collect(store.vector())
        assert store.scan() == ["m"]
        batches = store.missing({}, 10**9).batches
        assert [entry.key for each in batches for entry in open_batch(each).entries] == ["m", "m"]


def test_a_deletion_that_a_value_did_not_know_of_leaves_no_trace() -> None:
    """It deletes nothing that is there, and would stay beside the value for ever."""
    deleter, writer = new_store(0), new_store(1)
    deleter.write([("k", None)], 1)
    writer.write([("k", b"1")], 2)
    deleter.write([("m", b"")], 3)
    bring(deleter, writer)
    bring(writer, deleter)
    assert deleter.collect(deleter.vector()) == [(deleter.identity.node, 1)]
    assert shown(deleter) == {"k": [b"1"], "m": [b""]}


@pytest.mark.parametrize("seed", [3, 6])
def test_who_has_little_room_for_others_makes_room_as_they_do(seed: int) -> None:
    """These seeds had deletions that were dropped at their author and stayed elsewhere, so that
    what came next was over its quota there, for ever."""
    outcome = simulate(seed, plan=AIMS["quotas"](seed))
    assert outcome.verdict is Verdict.HELD, outcome.summary()


def test_a_deletion_is_kept_until_all_have_what_it_deleted() -> None:
    """Everybody may have the deletion, and somebody not yet what it deleted, for that is another
    author's (seed 128151107: it came afterwards, and stood there for ever)."""
    author, deleter, third = new_store(0), new_store(1), new_store(2)
    author.write([("k", b"1")], 1)
    author.write([("l", b"")], 1)
    bring(author, deleter)
    deleter.write([("k", None)], 2)
    deleter.write([("m", b"")], 3)
    for batch in deleter.missing(author.vector(), 10**9).batches:
        third.merge(batch)
    of_deleter = {deleter.identity.node: 2}
    assert third.collect(of_deleter) == []
    bring(author, third)
    assert third.scan() == ["l", "m"]
    for _ in range(2):
        third.collect(third.vector())
    assert third.holdings(NodeId(""))[0] == tuple(
        sorted(
            (Holding(author.identity.node, 2, (2,)), Holding(deleter.identity.node, 2, (2,))),
            key=lambda holding: holding.author,
        )
    )
    assert third.scan() == ["l", "m"]


def test_a_key_that_is_deleted_for_all_leaves_no_trace() -> None:
    source = new_store()
    source.write([("k", b"1")], 1)
    source.write([("k", None)], 2)
    source.write([("m", b"")], 3)
    own = source.identity.node
    assert set(source.collect(source.vector())) == {(own, 1), (own, 2)}
    assert source.missing({}, 10**9).batches == source.missing({own: 2}, 10**9).batches


def test_a_late_returner_does_not_bring_back_what_was_deleted() -> None:
    source, late = new_store(0), new_store(1)
    source.write([("k", b"1")], 1)
    bring(source, late)
    source.write([("k", None)], 2)
    source.write([("m", b"")], 3)
    for _ in range(2):
        source.collect(source.vector())
    assert bring(source, late)
    assert shown(late) == shown(source) == {"m": [b""]}
    bring(late, source)
    assert shown(source) == {"m": [b""]}


def test_what_a_late_returner_wrote_alone_survives() -> None:
    source, late = new_store(0), new_store(1)
    source.write([("k", b"1")], 1)
    bring(source, late)
    late.write([("k", b"mine"), ("n", b"new")], 2)
    source.write([("k", None)], 2)
    source.write([("m", b"")], 3)
    for _ in range(2):
        source.collect(source.vector())
    bring(source, late)
    bring(late, source)
    assert shown(late) == shown(source) == {"k": [b"mine"], "m": [b""], "n": [b"new"]}


def test_only_what_follows_is_skipped() -> None:
    """Else whoever says that something was collected could hide what was not."""
    source, target = new_store(0), new_store(1)
    for number in range(5):
        source.write([(f"k{number}", b"")], number)
    own = source.identity.node
    assert not target.skip(Collected(own, 3, 4, b""))
    bring(source, target)
    assert not target.skip(Collected(own, 3, 4, b""))
    assert target.vector() == {own: 5}


seeds = st.integers(0, 10**6)


@bounded
@given(seeds)
def test_nothing_deleted_or_replaced_returns_whatever_the_order(seed: int) -> None:
    """Writes, deletions, exchanges, collections up to what all but the absent have, and returns:
    the stores that never collect say what is right."""
    random = Random(seed)
    collecting = [new_store(number) for number in range(4)]
    plain = [new_store(number) for number in range(4)]
    away = {random.randrange(4)}
    for number in range(60):
        present = [each for each in range(4) if each not in away]
        draw = random.random()
        one, other = random.sample(present, 2)
        if draw < 0.45:
            key, value = random.choice(KEYS), b"%d" % number
            writes: list[tuple[str, bytes | None]] = [(key, None if draw < 0.15 else value)]
            collecting[one].write(writes, number)
            plain[one].write(writes, number)
        elif draw < 0.8:
            bring(collecting[one], collecting[other])
            bring(plain[one], plain[other])
        elif draw < 0.95:
            everybody = [collecting[each].vector() for each in present]
            authors = set().union(*everybody)
            stable = {author: min(row.get(author, 0) for row in everybody) for author in authors}
            collecting[one].collect({author: last for author, last in stable.items() if last})
        else:
            away = {random.randrange(4)}  # who was away is back, and has been forgotten meanwhile
        for each in range(4):
            assert collecting[each].vector() == plain[each].vector()
    for _ in range(2):
        for one in range(4):
            for other in range(4):
                if one != other:
                    bring(collecting[one], collecting[other])
                    bring(plain[one], plain[other])
    right = shown(plain[0])
    for each in range(4):
        assert shown(collecting[each]) == right
        assert collecting[each].fingerprint() == collecting[0].fingerprint()


def test_the_matrix_knows_what_all_have() -> None:
    matrix = Matrix()
    a, b, c = (identity.node for identity in IDENTITIES[:3])
    own = {a: 9, b: 4}
    matrix.learn(b, {a: 7, b: 4})
    assert matrix.stable(own, [b, c]) == {}, "nothing is known of c"
    matrix.learn(c, {a: 8, b: 2})
    assert matrix.stable(own, [b, c]) == {a: 7, b: 2}
    matrix.keep_only([b])
    assert matrix.stable(own, [b]) == {a: 7, b: 4}


# -- what goes first -------------------------------------------------------------------------------


def test_small_news_does_not_wait_behind_a_large_backlog() -> None:
    """Lesson of chitchat: large states starved small ones."""
    source, target = new_store(0), new_store(3)
    small, unknown = new_store(1), new_store(2)
    for number in range(2):
        small.write([("s", b"%d" % number)], number)
    source.write([("b", b"first")], 0)
    bring(source, target)
    bring(small, source)
    unknown.write([("u", b"x")], 1)
    bring(unknown, source)
    target.merge(small.missing({}, 1).batches[0])
    for number in range(50):
        source.write([(f"b{number}", bytes(10_000))], number)
    lacking = source.missing(target.vector(), 20_000)
    authors = [source.author_of(batch) for batch in lacking.batches]
    assert authors[:2] == [unknown.identity.node, small.identity.node]
    assert set(authors[2:]) == {source.identity.node}
    assert lacking.more


def test_an_entry_larger_than_the_budget_still_goes() -> None:
    source, target = new_store(0), new_store(1)
    source.write([("big", bytes(100_000))], 1)
    source.write([("k", b"x")], 2)
    bring(source, target, size_max=10)
    assert target.vector() == source.vector()


# -- two histories ---------------------------------------------------------------------------------


def two_histories() -> tuple[bytes, bytes]:
    one, other = new_store(0), new_store(0)
    return one.write([("k", b"1")], 1)[0], other.write([("k", b"2")], 1)[0]


def test_an_author_with_two_histories_is_found_out_and_believed_no_more() -> None:
    one, other = two_histories()
    store = new_store(1)
    store.merge(one)
    with pytest.raises(Equivocation) as caught:
        store.merge(other)
    assert caught.value.author == IDENTITIES[0].node
    assert store.forked() == {IDENTITIES[0].node}
    assert store.vector() == {}
    assert store.fingerprint() == new_store(2).fingerprint(), "the others can agree without it"


def test_the_proof_convinces_who_has_seen_neither() -> None:
    one, other = two_histories()
    store = new_store(1)
    assert store.prove(one, other) == IDENTITIES[0].node
    assert store.prove(one, other) is None, "known"
    assert store.merge(one) is None


def test_one_batch_proves_nothing_nor_do_two_that_follow_each_other() -> None:
    writer, store = new_store(0), new_store(1)
    first, second = (writer.write([("k", b"x")], number)[0] for number in range(2))
    assert store.prove(first, first) is None
    assert store.prove(first, second) is None
    assert store.prove(first, new_store(2).write([("k", b"")], 1)[0]) is None
    assert store.forked() == frozenset()


# -- families --------------------------------------------------------------------------------------

FAMILIES = Families(
    {"max/": Join.MAX, "set/": Join.UNION, "sum/": Join.SUM, "last/": Join.LAST_WRITER}
)


def number(n: int) -> bytes:
    return codec.pack_value(Number(n))


def concurrent(key: str, *values: bytes) -> Store:
    """A store in which so many authors have written the key without knowing of each other."""
    reader = new_store(3, families=FAMILIES)
    for who, value in enumerate(values):
        writer = new_store(who, families=FAMILIES)
        reader.merge(writer.write([(key, value)], stamp=who + 1)[0])
    return reader


def test_each_family_joins_in_its_way() -> None:
    assert concurrent("max/a", number(3), number(7), number(5)).joined("max/a") == 7
    assert concurrent("sum/a", number(3), number(7), number(5)).joined("sum/a") == 15
    sets = [codec.pack_value(Members((item, b"both"))) for item in (b"x", b"y")]
    assert concurrent("set/a", *sets).joined("set/a") == {b"x", b"y", b"both"}
    assert concurrent("last/a", b"one", b"two").joined("last/a") == b"two"
    assert concurrent("a", b"one", b"two").joined("a") == (b"one", b"two")


def test_a_key_that_nobody_wrote_reads_as_nothing() -> None:
    store = new_store(families=FAMILIES)
    found = [store.joined(f"{family}/x") for family in ("max", "sum", "set", "last", "other")]
    assert found == [None, 0, frozenset(), None, ()]


def test_an_author_of_a_sum_replaces_its_own_number_only() -> None:
    one, other = new_store(0, families=FAMILIES), new_store(1, families=FAMILIES)
    one.write([("sum/a", number(3))], 1)
    bring(one, other)
    other.write([("sum/a", number(10))], 2)
    bring(other, one)
    assert one.joined("sum/a") == other.joined("sum/a") == 13
    one.write([("sum/a", number(4))], 3)
    bring(one, other)
    assert other.joined("sum/a") == 14


def test_what_is_no_number_does_not_count_as_one() -> None:
    assert concurrent("max/a", number(3), b"garbage").joined("max/a") == 3
    assert concurrent("set/a", b"garbage").joined("set/a") == frozenset()
