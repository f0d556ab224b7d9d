"""Merging two versions of a file that were made from one: a line that one side alone has changed is
taken from there, and lines that both have changed, each in its own way, are a conflict.

diff3 (Khanna, Kunal and Pierce 2007, *A Formal Investigation of Diff3*) over the matching blocks of
`difflib`. What it gives may differ from one version of Python to another, so a merge is made by one
node and handed to the log, never computed by each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

LINES_MAX = 5_000  # of each version
PAIRS_MAX = 200_000  # of equal lines in two versions: matching looks at all of them, if not oftener

_Block = tuple[int, int, int, int]  # base from, to; one from; other from


def merge(base: bytes, one: bytes, other: bytes) -> bytes | None:
    """Both changes together; None if they contradict each other, or if it is too long to tell."""
    if one == other or other == base:
        return one
    if one == base:
        return other
    lines = [content.splitlines(keepends=True) for content in (base, one, other)]
    if max(map(len, lines)) > LINES_MAX or _pairs(*lines) > PAIRS_MAX:
        return None
    merged: list[bytes] = []
    at = (0, 0, 0)
    for begin, end, in_one, in_other in _agreed(*lines):
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


def _pairs(base: Sequence[bytes], *versions: Sequence[bytes]) -> int:
    """How many pairs of equal lines the base has with a version, at most."""
    times = Counter(base)
    return max(sum(times[line] for line in version) for version in versions)


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
    first = SequenceMatcher(None, base, one, autojunk=False).get_matching_blocks()
    second = SequenceMatcher(None, base, other, autojunk=False).get_matching_blocks()
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
