"""Clocks: integer nanoseconds, version vectors, and a hybrid logical clock.

Invariant: a version vector only grows under `merge` and `advance`.

Version vectors follow Parker et al., *Detection of Mutual Inconsistency in Distributed Systems*
(IEEE Transactions on Software Engineering 9(3), 1983): what they call one vector that dominates
another is AFTER here, and two that conflict are CONCURRENT. That these are the causal order of
what happened is shown, of the vectors of events, by Fidge (*Timestamps in Message-Passing Systems
That Preserve the Partial Ordering*, 1988) and Mattern (*Virtual Time and Global States of
Distributed Systems*, 1989). Comparison is the product order, `merge` its least upper bound.

The hybrid clock follows Kulkarni et al., *Logical Physical Clocks* (2014), with wall time and
counter packed in one integer; it orders for human eyes only, never for correctness.

`VersionVector` and `Order` are public: the README shows them in use.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import TypeAlias

Nanoseconds: TypeAlias = int

MILLISECOND: Nanoseconds = 1_000_000
SECOND: Nanoseconds = 1_000_000_000


class Order(Enum):
    """How two version vectors stand to each other: just one of these holds of any two."""

    BEFORE = "before"  # the other has seen all that this one has, and more
    AFTER = "after"  # this one has seen all that the other has, and more
    EQUAL = "equal"
    CONCURRENT = "concurrent"  # each has seen something that the other has not


class VersionVector(Mapping[str, int]):
    """An immutable, hashable map from author to the highest sequence seen of them. An author's
    events are numbered from 1 without a gap, so a number stands for all up to it.

    Authors that nothing was seen of are not in it: `vector[author]` raises KeyError then, and
    `vector.get(author, 0)` is 0. What was seen is never unseen, so nothing makes a number smaller.

    >>> ours, theirs = VersionVector({"a": 2}), VersionVector({"a": 1, "b": 1})
    >>> ours.compare(theirs)
    <Order.CONCURRENT: 'concurrent'>
    >>> ours.merge(theirs)
    VersionVector(a:2, b:1)
    """

    __slots__ = ("_counts",)

    def __init__(self, counts: Mapping[str, int] | Iterable[tuple[str, int]] = ()) -> None:
        """`counts`: author -> sequence, or such pairs, of which a later one replaces an earlier one
        of its author. A number below 1 stands for nothing seen. TypeError or ValueError for what is
        no such thing."""
        self._counts = {author: n for author, n in dict(counts).items() if n > 0}

    def __getitem__(self, author: str) -> int:
        return self._counts[author]

    def __iter__(self) -> Iterator[str]:
        return iter(self._counts)

    def __len__(self) -> int:
        return len(self._counts)

    def __repr__(self) -> str:
        inside = ", ".join(f"{author}:{n}" for author, n in sorted(self._counts.items()))
        return f"VersionVector({inside})"

    def __hash__(self) -> int:
        return hash(frozenset(self._counts.items()))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, VersionVector):
            return self._counts == other._counts
        return NotImplemented

    def sees(self, author: str, sequence: int) -> bool:
        """Whether the event (author, sequence) lies in this vector's past. True of any sequence
        below 1: there is no such event to be missed."""
        return self._counts.get(author, 0) >= sequence

    def advance(self, author: str, sequence: int) -> VersionVector:
        """This vector having also seen `author` up to `sequence`, an event's number and not how
        many more; this very vector if it has seen that already."""
        if self.sees(author, sequence):
            return self
        return VersionVector({**self._counts, author: sequence})

    def merge(self, other: VersionVector) -> VersionVector:
        """The least vector that has seen what either has seen. In whichever order and however often
        vectors are merged, the result is the same."""
        merged = dict(self._counts)
        for author, n in other._counts.items():
            if n > merged.get(author, 0):
                merged[author] = n
        return VersionVector(merged)

    def compare(self, other: VersionVector) -> Order:
        """BEFORE if this one is strictly in the other's past, and so on; in time that grows with
        the number of authors in both."""
        behind = any(n > self._counts.get(author, 0) for author, n in other._counts.items())
        ahead = any(n > other._counts.get(author, 0) for author, n in self._counts.items())
        if behind and ahead:
            return Order.CONCURRENT
        if behind:
            return Order.BEFORE
        return Order.AFTER if ahead else Order.EQUAL


_COUNTER_BITS = 16
DRIFT_MAX: Nanoseconds = 60 * SECOND  # between two nodes' wall clocks


class HybridClock:
    """Wall-clock milliseconds in the high bits, a counter for ties in the low 16."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last = 0

    def stamp(self, wall: Nanoseconds) -> int:
        """A reading for a local event: above every reading given or observed so far."""
        self._last = max(self._last + 1, wall // MILLISECOND << _COUNTER_BITS)
        return self._last

    def observe(self, reading: int, wall: Nanoseconds) -> None:
        """Take note of another node's reading, so that later stamps come after it. A reading far
        in the future is a broken or lying clock and is ignored."""
        if self.milliseconds(reading) * MILLISECOND <= wall + DRIFT_MAX:
            self._last = max(self._last, reading)

    @staticmethod
    def milliseconds(reading: int) -> int:
        """The wall-clock part of a reading, in milliseconds since the epoch."""
        return reading >> _COUNTER_BITS


class Alarm:
    """The earliest of the times asked for since it was cleared."""

    __slots__ = ("at",)

    def __init__(self) -> None:
        self.at: Nanoseconds | None = None

    def clear(self) -> None:
        self.at = None

    def ask(self, at: Nanoseconds) -> None:
        """Ring at `at` or before."""
        self.at = at if self.at is None else min(self.at, at)
