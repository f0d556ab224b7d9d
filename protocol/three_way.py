"""Merging two versions of a file that were made from one: a line that one side alone has changed is
taken from there, and lines that both have changed, each in its own way, are a conflict.

diff3 (Khanna, Kunal and Pierce 2007, *A Formal Investigation of Diff3*) over the matching blocks of
`difflib`. What it gives may differ from one version of Python to another, so a merge is made by one
node and handed to the log, never computed by each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import Match, SequenceMatcher
from itertools import accumulate

LINES_MAX = 5_000  # of each version
STEPS_MAX = 400_000  # of matching one version: some 25 ms

_Block = tuple[int, int, int, int]  # base from, to; one from; other from


class _TooLong(Exception):
    """Nobody has the time to find out what has changed."""


class _Matcher(SequenceMatcher[bytes]):
    """Gives up after `STEPS_MAX`. Where many lines are equal, or much has changed, matching takes
    the square of their number and more, and the node would hear nobody all the while."""

    def __init__(self, base: Sequence[bytes], version: Sequence[bytes]) -> None:
        super().__init__(None, base, version, autojunk=False)
        times = Counter(version)
        # To look at the first so many lines of the base, and at what is equal to them.
        self._steps = [0, *accumulate(1 + times[line] for line in base)]
        self._left = STEPS_MAX

    def find_longest_match(
        self, alo: int = 0, ahi: int | None = None, blo: int = 0, bhi: int | None = None
    ) -> Match:
        self._left -= self._steps[-1 if ahi is None else ahi] - self._steps[alo]
        if self._left < 0:
            raise _TooLong
        return super().find_longest_match(alo, ahi, blo, bhi)


def merge(base: bytes, one: bytes, other: bytes) -> bytes | None:
    """Both changes together; None if they contradict each other, or if it is too long to tell."""
    if one == other or other == base:
        return one
    if one == base:
        return other
    lines = [content.splitlines(keepends=True) for content in (base, one, other)]
    if max(map(len, lines)) > LINES_MAX:
        return None
    try:
        agreed = list(_agreed(*lines))
    except _TooLong:
        return None
    merged: list[bytes] = []
    at = (0, 0, 0)
    for begin, end, in_one, in_other in agreed:
        ours = _settled(
            lines[0][at[0] : begin], lines[1][at[1] : in_one], lines[2][at[2] : in_other]
        )
        if ours is None:
            return None
        merged += ours
        merged += lines[0][begin:end]
        length = end - begin
        at = (end, in_one + length, in_other + length)
    return b"".join(merged)


def _settled(
    base: Sequence[bytes], one: Sequence[bytes], other: Sequence[bytes]
) -> Sequence[bytes] | None:
    """What stands between two places on which all agree; None for a conflict."""
    if one == other or other == base:
        return one
    return other if one == base else None


def _agreed(
    base: Sequence[bytes], one: Sequence[bytes], other: Sequence[bytes]
) -> Iterator[_Block]:
    """Runs of lines that all three have, in order, the empty one at the end among them."""
    first, second = _matching(base, one), _matching(base, other)
    at_first = at_second = 0
    while at_first < len(first) and at_second < len(second):
        a, b = first[at_first], second[at_second]
        begin, end = max(a.a, b.a), min(a.a + a.size, b.a + b.size)
        if begin < end:
            yield begin, end, a.b + begin - a.a, b.b + begin - b.a
        if a.a + a.size <= b.a + b.size:
            at_first += 1
        else:
            at_second += 1
    yield len(base), len(base), len(one), len(other)


def _matching(base: Sequence[bytes], version: Sequence[bytes]) -> list[Match]:
    """Runs of lines that a version has kept, in order. Most edits leave the beginning and the end
    as they are: only what lies between is searched."""
    begin = 0
    shorter = min(len(base), len(version))
    while begin < shorter and base[begin] == version[begin]:
        begin += 1
    kept = 0  # lines at the end
    while kept < shorter - begin and base[-1 - kept] == version[-1 - kept]:
        kept += 1
    ends = len(base) - kept, len(version) - kept
    found = _Matcher(base[begin : ends[0]], version[begin : ends[1]]).get_matching_blocks()
    between = [Match(begin + a, begin + b, size) for a, b, size in found if size]
    return [Match(0, 0, begin), *between, Match(*ends, kept)]
