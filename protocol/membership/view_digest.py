"""Whether two nodes know the same of the team, in eight bytes; and if not, where they differ.

What is pushed to a few reaches everybody but a few, and those must not wait for the rare full
exchange. So a fingerprint of all that is known rides on probes, and goes to somebody every tick
while there is news; where it differs, sums over 64 parts of the members tell which of
them to send (after Merkle trees in Dynamo, DeCandia et al. 2007, section 4.7, with one level).

    A -> B  ViewDigest(fingerprint)              hash first
    B -> A  ViewDigest(fingerprint, sums)        if it differs
    A -> B  MemberSync(what differs), ViewDigest(fingerprint, sums, is_last)
    B -> A  MemberSync(what differs)
"""

from __future__ import annotations

import hashlib

from protocol.identity import NodeId
from protocol.membership.states import State
from protocol.messages.membership import MemberRecord

PARTS = 64
SIZE = 8  # bytes of a sum
_MODULUS = 1 << (8 * SIZE)


def part_of(node: NodeId) -> int:
    """In which part a node is: ids are hashes, so any two characters spread well."""
    return (ord(node[0]) * 31 + ord(node[1])) % PARTS


def mark_of(record: MemberRecord, state: State) -> int:
    """A member's share of the sums. A suspect counts as alive: that is over within seconds."""
    if state is State.REMEMBERED:
        return 0
    word = {State.FAILED: "failed", State.LEFT: "left"}.get(state, "here")
    text = f"{record.node} {record.epoch} {record.incarnation} {word}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=SIZE).digest(), "big")


class ViewDigest:
    """The sums, kept up to date member by member."""

    def __init__(self) -> None:
        self._sums = [0] * PARTS
        self._marks: dict[NodeId, int] = {}

    def put(self, record: MemberRecord, state: State) -> None:
        """What is now known of a node."""
        node = record.node
        mark = mark_of(record, state)
        part = part_of(node)
        self._sums[part] = (self._sums[part] + mark - self._marks.get(node, 0)) % _MODULUS
        self._marks[node] = mark

    def drop(self, node: NodeId) -> None:
        """Nothing is known of it any more."""
        part = part_of(node)
        self._sums[part] = (self._sums[part] - self._marks.pop(node, 0)) % _MODULUS

    def fingerprint(self) -> bytes:
        """Equal when two nodes know the same; 8 bytes."""
        return (sum(self._sums) % _MODULUS).to_bytes(SIZE, "big")

    def sums(self) -> tuple[bytes, ...]:
        """One for each part."""
        return tuple(each.to_bytes(SIZE, "big") for each in self._sums)

    def differing(self, sums: tuple[bytes, ...]) -> set[int]:
        """The parts in which another node knows something else; none if it divides otherwise."""
        if len(sums) != PARTS:
            return set()
        pairs = zip(self.sums(), sums, strict=True)
        return {part for part, (own, other) in enumerate(pairs) if own != other}
