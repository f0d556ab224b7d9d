"""Merging: both changes or none."""

from __future__ import annotations

from difflib import Match, SequenceMatcher

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.three_way import LINES_MAX, STEPS_MAX, merge

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


def numbered(count: int, changed: range, mark: str) -> bytes:
    return b"".join(f"{mark if n in changed else ''}{n}\n".encode() for n in range(count))


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pairs of equal lines, and lines beside, every search looked at."""
    steps: list[int] = []
    search = SequenceMatcher.find_longest_match

    def spy(
        self: SequenceMatcher[bytes], alo: int, ahi: int, blo: int, bhi: int
    ) -> Match:  # as `get_matching_blocks` calls it
        steps.append(sum(1 + len(self.b2j.get(line, ())) for line in self.a[alo:ahi]))
        return search(self, alo, ahi, blo, bhi)

    monkeypatch.setattr(SequenceMatcher, "find_longest_match", spy)
    return steps


@pytest.mark.parametrize("changed", [range(0, 4_800, 2), range(1, 4_800, 3)])
def test_a_node_does_not_search_for_long(searched: list[int], changed: range) -> None:
    """Found in a review: 1,600 lines took four seconds, in which the node heard nobody."""
    base = numbered(4_800, range(0), "")
    assert merge(base, numbered(4_800, changed, "x"), base + b"y\n") is None
    assert sum(searched) <= 2 * STEPS_MAX


def test_many_equal_lines_are_not_compared_with_each_other_for_long(searched: list[int]) -> None:
    few = [b"".join(b"%d\n" % (n * n // step % 13) for n in range(1_500)) for step in (3, 5, 7)]
    assert merge(*few) is None
    assert sum(searched) <= 2 * STEPS_MAX


def test_a_long_file_with_a_few_changes_is_merged() -> None:
    base, one, other = (numbered(4_800, range(at, 4_800, 600), "x") for at in (4_800, 100, 400))
    merged = merge(base, one, other)
    assert merged is not None
    assert merged.count(b"x") == 16


def test_what_has_not_changed_is_not_searched(searched: list[int]) -> None:
    blank = b"\n" * 2_000
    merged = merge(blank + b"a\n" + blank, blank + b"b\n" + blank, blank + b"a\n" + blank + b"c\n")
    assert merged == blank + b"b\n" + blank + b"c\n"
    assert sum(searched) <= 4


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
