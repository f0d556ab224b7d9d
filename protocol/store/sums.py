"""Whether two stores have had the same, in sixteen bytes; and if not, of which authors not.

Each author has a mark, which tells how far its history goes here and along which chain; marks are
summed over 64 parts of the authors, and the parts over all, so that one author's step changes two
sums in place (as in Merkle trees, with one level: Dynamo, DeCandia et al. 2007, section 4.7). What
is exchanged then grows with what differs, and not with how many authors there are.
"""

from __future__ import annotations

from protocol.identity import NodeId

PARTS = 64
PART_SUM_SIZE = 8  # bytes that are sent of each
FINGERPRINT_SIZE = 16  # bytes
_PART_MODULUS = 1 << (8 * PART_SUM_SIZE)
_MODULUS = 1 << (8 * FINGERPRINT_SIZE)


def part_of(author: str) -> int:
    """In which part an author is: ids are hashes, so any two characters spread well."""
    return (ord(author[0]) * 31 + ord(author[1])) % PARTS


class Sums:
    """Kept up to date mark by mark; a mark is an integer below 2^128."""

    __slots__ = ("_parts", "_total")

    def __init__(self) -> None:
        self._parts = [0] * PARTS
        self._total = 0

    def change(self, author: NodeId, old: int, new: int) -> None:
        """An author's mark is another one now; 0 for none."""
        part = part_of(author)
        self._parts[part] = (self._parts[part] + new - old) % _MODULUS
        self._total = (self._total + new - old) % _MODULUS

    def fingerprint(self) -> bytes:
        """16 bytes that are equal when all marks are."""
        return self._total.to_bytes(FINGERPRINT_SIZE, "big")

    def by_part(self) -> tuple[bytes, ...]:
        """8 bytes for each part."""
        return tuple((each % _PART_MODULUS).to_bytes(PART_SUM_SIZE, "big") for each in self._parts)

    def differing(self, sums: tuple[bytes, ...]) -> frozenset[int]:
        """The parts in which another store has had something else; all if it divides otherwise."""
        if len(sums) != PARTS:
            return frozenset(range(PARTS))
        pairs = zip(self.by_part(), sums, strict=True)
        return frozenset(part for part, (own, other) in enumerate(pairs) if own != other)
