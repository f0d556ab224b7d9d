"""Merging: both changes or none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.three_way import LINES_MAX, merge

BASE = b"a\nb\nc\nd\ne\n"
texts = st.lists(st.sampled_from([b"a\n", b"b\n", b"c\n", b"\n"]), max_size=12).map(b"".join)


@pytest.mark.parametrize(
    ("one", "other", "merged"),
    [
        (b"A\nb\nc\nd\ne\n", b"a\nb\nc\nd\nE\n", b"A\nb\nc\nd\nE\n"),
        (b"a\nb\nx\nc\nd\ne\n", b"b\nc\nd\ne\n", b"b\nx\nc\nd\ne\n"),
        (BASE, b"", b""),
        (b"a\nb\nc\nd\ne\nf\n", b"0\n" + BASE, b"0\na\nb\nc\nd\ne\nf\n"),
        (b"A\nb\nc\nd\ne\n", b"A\nb\nc\nd\nE\n", b"A\nb\nc\nd\nE\n"),
        (b"A\nb\nc\nd\ne\n", b"B\nb\nc\nd\ne\n", None),
        (b"a\nb\nc\nd\ne\nf\n", b"a\nb\nc\nd\ne\ng\n", None),
    ],
)
def test_disjoint_changes_are_put_together(one: bytes, other: bytes, merged: bytes | None) -> None:
    assert merge(BASE, one, other) == merged


def test_two_files_without_a_common_past_are_a_conflict() -> None:
    assert merge(b"", b"one\n", b"other\n") is None
    assert merge(b"", b"same\n", b"same\n") == b"same\n"


def test_what_is_too_long_is_left_to_somebody_else() -> None:
    long = b"x\n" * (LINES_MAX + 1)
    assert merge(long, long + b"y\n", b"z\n" + long) is None


@given(texts, texts)
def test_one_change_alone_is_taken(base: bytes, one: bytes) -> None:
    assert merge(base, one, base) == merge(base, base, one) == merge(base, one, one) == one


@given(texts, texts, texts)
def test_whose_change_comes_first_does_not_matter(base: bytes, one: bytes, other: bytes) -> None:
    assert merge(base, one, other) == merge(base, other, one)


@given(texts, texts, texts)
def test_no_line_comes_from_nowhere(base: bytes, one: bytes, other: bytes) -> None:
    merged = merge(base, one, other)
    if merged is not None:
        known = {*one.splitlines(), *other.splitlines()}
        assert set(merged.splitlines()) <= known
