"""Version vectors obey the laws of a join semilattice; the hybrid clock never goes back."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties import bounded

from protocol import clocks
from protocol.clocks import DRIFT_MAX, MILLISECOND, SECOND, HybridClock, Order, VersionVector

AUTHORS = ("a", "b", "c")
vectors = st.dictionaries(st.sampled_from(AUTHORS), st.integers(0, 4)).map(VersionVector)


def reference_order(one: VersionVector, other: VersionVector) -> Order:
    """The product order, spelled out author by author."""
    pairs = [(one.get(author, 0), other.get(author, 0)) for author in AUTHORS]
    at_most = all(mine <= theirs for mine, theirs in pairs)
    at_least = all(mine >= theirs for mine, theirs in pairs)
    if at_most and at_least:
        return Order.EQUAL
    if at_most:
        return Order.BEFORE
    return Order.AFTER if at_least else Order.CONCURRENT


@bounded
@given(vectors, vectors)
def test_merge_commutes(one: VersionVector, other: VersionVector) -> None:
    assert one.merge(other) == other.merge(one)


@bounded
@given(vectors, vectors, vectors)
def test_merge_associates(one: VersionVector, two: VersionVector, three: VersionVector) -> None:
    assert one.merge(two).merge(three) == one.merge(two.merge(three))


@bounded
@given(vectors)
def test_merge_is_idempotent(one: VersionVector) -> None:
    assert one.merge(one) == one


@bounded
@given(vectors, vectors)
def test_merge_is_the_least_vector_above_both(one: VersionVector, other: VersionVector) -> None:
    merged = one.merge(other)
    for vector in (one, other):
        assert vector.compare(merged) in (Order.BEFORE, Order.EQUAL)
    for author, count in merged.items():
        assert count in (one.get(author, 0), other.get(author, 0))


def test_the_examples_of_the_docstrings_hold() -> None:
    found = doctest.testmod(clocks)
    assert (found.failed, found.attempted) == (0, 3)


def test_what_was_not_seen_is_not_there() -> None:
    vector = VersionVector([("a", 1), ("a", 2), ("b", 0), ("c", -1)])
    assert vector == VersionVector({"a": 2})
    assert (vector.get("b", 0), vector.sees("b", 0), vector.sees("b", 1)) == (0, True, False)
    with pytest.raises(KeyError):
        vector["b"]
    assert vector.advance("a", 1) is vector
    with pytest.raises(TypeError):
        VersionVector([1])  # type: ignore[list-item]


@bounded
@given(vectors, vectors)
def test_compare_agrees_with_the_product_order(one: VersionVector, other: VersionVector) -> None:
    assert one.compare(other) is reference_order(one, other)


@bounded
@given(vectors, st.sampled_from(AUTHORS), st.integers(1, 5))
def test_a_vector_only_grows(vector: VersionVector, author: str, sequence: int) -> None:
    later = vector.advance(author, sequence)
    assert later.sees(author, sequence)
    assert vector.compare(later) in (Order.BEFORE, Order.EQUAL)


@bounded
@given(vectors, vectors)
def test_equal_vectors_hash_alike(one: VersionVector, other: VersionVector) -> None:
    assert one != other or hash(one) == hash(other)


def test_absent_means_zero() -> None:
    assert VersionVector({"a": 0}) == VersionVector()
    assert VersionVector().sees("a", 0)
    assert not VersionVector().sees("a", 1)
    assert VersionVector() != {"a": 0}


def test_a_vector_is_shown_in_the_order_of_its_authors() -> None:
    assert repr(VersionVector({"b": 1, "a": 2})) == "VersionVector(a:2, b:1)"


@bounded
@given(st.lists(st.integers(0, 10 * SECOND), min_size=1, max_size=20))
def test_stamps_rise_whatever_the_wall_clock_does(walls: list[int]) -> None:
    clock = HybridClock()
    stamps = [clock.stamp(wall) for wall in walls]
    assert stamps == sorted(set(stamps))


def test_a_stamp_comes_after_all_that_was_observed() -> None:
    here, there = HybridClock(), HybridClock()
    far = there.stamp(30 * SECOND)
    here.observe(far, wall=SECOND)
    assert here.stamp(SECOND) > far


def test_a_clock_far_in_the_future_is_ignored() -> None:
    here, broken = HybridClock(), HybridClock()
    here.observe(broken.stamp(SECOND + 2 * DRIFT_MAX), wall=SECOND)
    assert HybridClock.milliseconds(here.stamp(SECOND)) == SECOND // MILLISECOND
