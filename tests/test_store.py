"""The store's merge laws, against a small reference model, and what it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties import bounded

from protocol import codec, store
from protocol.errors import RemoteProtocolError
from protocol.identity import Identity, NodeId
from protocol.store import Batch, Body, Entry, Equivocation, Gap, Store
from protocol.store.batches import NO_LINK, sign_batch

IDENTITIES = [Identity(bytes([number]) * 32) for number in range(1, 4)]
KEYS = ("k", "l")
QUOTA = 1_000


def new_store(who: int = 0, quota: int = QUOTA, cluster: str = "team") -> Store:
    return Store(IDENTITIES[who], cluster, quota)


def values(held: Store) -> dict[str, list[tuple[NodeId, int, bytes]]]:
    """All that a store says, in a comparable form."""
    return {
        key: [(version.author, version.sequence, version.value) for version in held.read(key)]
        for key in held.scan()
    }


# -- the reference model: a write knows, as a set, every write it has seen ----------------------


@dataclass(frozen=True)
class Write:
    """A write and the whole history of its key that its author knew."""

    author: NodeId
    sequence: int
    key: str
    value: bytes
    seen: frozenset[tuple[NodeId, int]]

    @property
    def dot(self) -> tuple[NodeId, int]:
        return (self.author, self.sequence)


def siblings(history: Sequence[Write], key: str) -> list[tuple[NodeId, int, bytes]]:
    """The writes of a key that no other write has seen: the definition, without any vector."""
    of_key = [write for write in history if write.key == key]
    overwritten = {dot for write in of_key for dot in write.seen}
    kept = [write for write in of_key if write.dot not in overwritten]
    return sorted((write.author, write.sequence, write.value) for write in kept)


@dataclass
class Author:
    """A store, and beside it the reference history that it should show."""

    store: Store
    history: list[Write]
    batches: list[bytes]


def random_history(seed: int) -> list[Author]:
    """Three authors write, now and then taking over all that another has."""
    random = Random(seed)
    authors = [Author(new_store(number), [], []) for number in range(3)]
    for number in range(random.randrange(4, 24)):
        one = random.choice(authors)
        if random.random() < 0.35:
            exchange(random.choice(authors), one)
            continue
        node = one.store.identity.node
        writes = []
        for at in range(random.choice((1, 1, 2, 3))):
            key, value = random.choice(KEYS), b"%d.%d" % (number, at)
            seen = frozenset(write.dot for write in one.history if write.key == key)
            sequence = one.store.last_of(node) + 1 + at
            one.history.append(Write(node, sequence, key, value, seen))
            writes.append((key, value))
        encoded, _ = one.store.write(writes, stamp=number)
        one.batches.append(encoded)
    return authors


def exchange(source: Author, target: Author) -> None:
    """Bring to `target` all that `source` holds."""
    lacking = source.store.missing(target.store.vector(), 10**9)
    assert not lacking.more
    for batch in lacking.batches:
        target.store.merge(batch)
    known = {write.dot for write in target.history}
    target.history += [write for write in source.history if write.dot not in known]


def merge_in_any_order(held: Store, batches: list[bytes], random: Random) -> None:
    """Offer batches in a random order, each some times, until all are in."""
    waiting = batches + random.sample(batches, len(batches) // 2)
    while waiting:
        random.shuffle(waiting)
        refused = []
        for batch in waiting:
            try:
                held.merge(batch)
            except Gap:
                refused.append(batch)
        assert len(refused) < len(waiting), "an author's first missing batch always fits"
        waiting = refused


seeds = st.integers(0, 10**6)


@bounded
@given(seeds)
def test_siblings_are_exactly_the_writes_that_nobody_has_seen(seed: int) -> None:
    for author in random_history(seed):
        for key in KEYS:
            shown = values(author.store).get(key, [])
            assert shown == siblings(author.history, key)


@bounded
@given(seeds, seeds)
def test_any_order_and_repetition_gives_equal_stores(seed: int, order: int) -> None:
    """Merging commutes, associates and is idempotent, as far as an author's own order allows."""
    authors = random_history(seed)
    batches = [batch for author in authors for batch in author.batches]
    whole = [write for author in authors for write in author.history]
    reader, other = new_store(), new_store(1)
    merge_in_any_order(reader, batches, Random(order))
    merge_in_any_order(other, batches, Random(order + 1))
    assert values(reader) == values(other)
    assert reader.fingerprint() == other.fingerprint()
    assert reader.vector() == other.vector()
    for key in KEYS:
        unique = {write.dot: write for write in whole}
        assert values(reader).get(key, []) == siblings(list(unique.values()), key)


@bounded
@given(seeds)
def test_fingerprints_are_equal_exactly_when_digests_are(seed: int) -> None:
    authors = random_history(seed)
    for one in authors:
        for other in authors:
            same = one.store.vector() == other.store.vector()
            assert (one.store.fingerprint() == other.store.fingerprint()) is same


@bounded
@given(seeds, st.integers(1, 2_000))
def test_deltas_of_any_size_bring_everything(seed: int, size_max: int) -> None:
    source = random_history(seed)[0].store
    target = new_store(2, cluster="team")
    for _ in range(100):
        lacking = source.missing(target.vector(), size_max)
        for batch in lacking.batches:
            assert target.merge(batch)
        if not lacking.more:
            break
    assert target.vector() == source.vector()
    assert not target.lacks(source.vector())


# -- rules, one by one --------------------------------------------------------------------------


def test_a_later_write_replaces_what_it_has_seen() -> None:
    held = new_store()
    held.write([("k", b"one")], 1)
    held.write([("k", b"two")], 2)
    assert [version.value for version in held.read("k")] == [b"two"]


def test_writes_that_did_not_know_of_each_other_are_siblings() -> None:
    one, other = new_store(0), new_store(1)
    first, _ = one.write([("k", b"one")], 1)
    second, _ = other.write([("k", b"two")], 1)
    one.merge(second)
    other.merge(first)
    assert {version.value for version in one.read("k")} == {b"one", b"two"}
    assert values(one) == values(other)
    third, _ = one.write([("k", b"both")], 2)
    other.merge(third)
    assert [version.value for version in other.read("k")] == [b"both"]


def test_of_two_writes_in_one_batch_the_later_stands() -> None:
    held = new_store()
    _, merged = held.write([("k", b"one"), ("l", b"x"), ("k", b"two")], 1)
    assert (merged.first, merged.last, merged.keys) == (1, 3, ("k", "l"))
    assert [version.value for version in held.read("k")] == [b"two"]


def test_a_gap_is_refused_and_changes_nothing() -> None:
    source, target = new_store(0), new_store(1)
    source.write([("k", b"one")], 1)
    second, _ = source.write([("k", b"two")], 2)
    with pytest.raises(Gap):
        target.merge(second)
    assert (target.vector(), target.scan()) == ({}, [])


def test_a_known_batch_is_nothing_new() -> None:
    source, target = new_store(0), new_store(1)
    batch, _ = source.write([("k", b"one")], 1)
    assert target.merge(batch) is not None
    before = target.fingerprint()
    assert target.merge(batch) is None
    assert target.fingerprint() == before


def test_a_forged_batch_is_refused() -> None:
    """Invariant of the signature: a relay cannot write in an author's name."""
    source, target = new_store(0), new_store(1)
    encoded, _ = source.write([("k", b"true")], 1)
    batch = codec.unpack_value(Batch, encoded)
    false = codec.pack_value(Body((Entry("k", b"false", {}, 1),)))
    forgeries = [
        replace(batch, body=false),
        replace(batch, signature=bytes(64)),
        replace(batch, public_key=IDENTITIES[2].public_key),
    ]
    for forged in forgeries:
        with pytest.raises(RemoteProtocolError, match="signature"):
            target.merge(codec.pack_value(forged))
    assert target.vector() == {}


def test_an_author_cannot_change_the_past() -> None:
    """The signature covers the chain: another first batch makes the second one unfit."""
    honest, rewritten, target = new_store(0), new_store(0), new_store(1)
    first, _ = honest.write([("k", b"one")], 1)
    rewritten.write([("k", b"uno")], 1)
    second, _ = rewritten.write([("k", b"due")], 2)
    target.merge(first)
    with pytest.raises(Equivocation, match="two different histories"):
        target.merge(second)
    assert target.merge(first) is None


def test_entries_of_another_cluster_are_refused() -> None:
    foreign = new_store(0, cluster="others")
    batch, _ = foreign.write([("k", b"one")], 1)
    with pytest.raises(RemoteProtocolError, match="signature"):
        new_store(1).merge(batch)


def test_a_quota_bounds_every_author() -> None:
    source, target = new_store(0), new_store(1, quota=2)
    batches = [source.write([("k", b"x")], at)[0] for at in range(3)]
    target.merge(batches[0])
    target.merge(batches[1])
    with pytest.raises(RemoteProtocolError, match="quota"):
        target.merge(batches[2])


def signed(first: int, entries: tuple[Entry, ...]) -> bytes:
    """A batch by somebody who signs well but minds no limit."""
    return sign_batch(IDENTITIES[0], "team", first, NO_LINK, entries)


@pytest.mark.parametrize(
    "batch",
    [
        b"",
        b"garbage",
        signed(1, ()),
        signed(1, (Entry("k" * (store.KEY_LENGTH_MAX + 1), b"", {}, 0),)),
        signed(1, (Entry("k", bytes(store.VALUE_SIZE_MAX + 1), {}, 0),)),
        codec.pack_value(Batch(b"short", 1, b"", b"", b"")),
        codec.pack_value(Batch(IDENTITIES[0].public_key, 1, b"", b"not a body", bytes(64))),
    ],
    ids=["empty", "garbage", "no entries", "long key", "big value", "short key", "no body"],
)
def test_a_malformed_batch_is_refused(batch: bytes) -> None:
    held = new_store(1)
    with pytest.raises(RemoteProtocolError):
        held.merge(batch)
    assert held.vector() == {}


def test_a_batch_that_begins_at_zero_is_nothing_new() -> None:
    assert new_store(1).merge(signed(0, (Entry("k", b"x", {}, 0),))) is None


def test_a_restored_store_is_the_same_store() -> None:
    source = new_store(0)
    batches = [source.write([("k", b"%d" % at)], at)[0] for at in range(5)]
    again = new_store(0)
    again.restore(batches)
    assert values(again) == values(source)
    assert again.write([("k", b"next")], 9)[1].first == 6


def test_a_scan_is_sorted_and_keeps_to_its_prefix() -> None:
    held = new_store()
    held.write([("b/2", b""), ("a/1", b""), ("b/1", b"")], 1)
    assert held.scan("b/") == ["b/1", "b/2"]
    assert held.scan() == ["a/1", "b/1", "b/2"]
