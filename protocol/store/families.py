"""Families of keys: how the values of one key, written by authors that did not know of each other,
become one when it is read. A key belongs to the family whose prefix it begins with.

    SIBLINGS     all of them are shown (the default): somebody has to decide
    LAST_WRITER  the one with the latest hybrid clock; of equals the greater author's
    MAX          the greatest number
    UNION        a set: the union
    SUM          a number of each author, which only that author replaces: the sum

All are joins of semilattices but LAST_WRITER's loss of what was written at the same time (Shapiro,
Preguica, Baquero and Zawirski 2011, *Conflict-free Replicated Data Types*): whoever holds the same
entries reads the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from protocol import codec
from protocol.errors import RemoteProtocolError


class Join(Enum):
    SIBLINGS = "siblings"
    LAST_WRITER = "last writer"
    MAX = "max"
    UNION = "union"
    SUM = "sum"


@dataclass(frozen=True, slots=True)
class Number:
    """The value of a key of MAX or SUM."""

    n: int


@dataclass(frozen=True, slots=True)
class Members:
    """The value of a key of UNION."""

    items: tuple[bytes, ...]


Joined: TypeAlias = int | frozenset[bytes] | bytes | tuple[bytes, ...] | None


class Families:
    """Prefix -> join. The longest prefix counts."""

    def __init__(self, joins: Mapping[str, Join] | None = None) -> None:
        self._joins = sorted((joins or {}).items(), key=lambda each: -len(each[0]))

    def join_of(self, key: str) -> Join:
        """The family's."""
        for prefix, join in self._joins:
            if key.startswith(prefix):
                return join
        return Join.SIBLINGS

    def is_per_author(self, key: str) -> bool:
        """Whether an author replaces only what it has written itself."""
        return bool(self._joins) and self.join_of(key) is Join.SUM


def joined(join: Join, values: Sequence[bytes]) -> Joined:
    """The values of one key as one; they come in order of (stamp, author). A value that is none of
    its family's does not count: its author made it up."""
    match join:
        case Join.SIBLINGS:
            return tuple(values)
        case Join.LAST_WRITER:
            return values[-1] if values else None
        case Join.MAX:
            return max(_numbers(values), default=None)
        case Join.SUM:
            return sum(_numbers(values))
        case Join.UNION:
            return frozenset().union(*_sets(values))


def _numbers(values: Sequence[bytes]) -> list[int]:
    found = []
    for value in values:
        try:
            found.append(codec.unpack_value(Number, value).n)
        except RemoteProtocolError:
            continue
    return found


def _sets(values: Sequence[bytes]) -> list[tuple[bytes, ...]]:
    found = []
    for value in values:
        try:
            found.append(codec.unpack_value(Members, value).items)
        except RemoteProtocolError:
            continue
    return found
