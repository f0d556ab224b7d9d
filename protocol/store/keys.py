"""The values of the store's keys, each with its causal context.

Invariant: a value disappears from a key only when an entry comes whose writer had seen it, or when
everything of the key is dropped. Entries may come in any order of authors: taking them commutes.

Values carry the writer's causal context of their key: dotted version vectors (Almeida, Baquero,
Goncalves, Preguica and Fonte 2014, *Scalable and Accurate Causality Tracking for Eventually
Consistent Stores*). Since an author's entries arrive in order, "has seen (author, n)" implies all
that author's earlier entries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from protocol.clocks import VersionVector
from protocol.identity import NodeId
from protocol.store.batches import Entry

Dot: TypeAlias = tuple[NodeId, int]  # an entry, by its author and sequence

_NOTHING = VersionVector()


@dataclass(frozen=True, slots=True)
class Version:
    """One of the values of a key: who wrote it (its dot), and when by their hybrid clock."""

    author: NodeId
    sequence: int
    value: bytes
    stamp: int
    deletes: bool = False


@dataclass(slots=True)
class _Key:
    """`entries` counts those of this key in batches that are held, `deletions` some of them."""

    seen: VersionVector
    versions: tuple[Version, ...]
    entries: int = 0
    deletions: int = 0

    def hold(self, deletes: bool) -> None:
        """One more."""
        self.entries += 1
        self.deletions += deletes


class Keys:
    """See the module's text."""

    def __init__(self) -> None:
        self._keys: dict[str, _Key] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def versions(self, key: str) -> tuple[Version, ...]:
        """What nobody has overwritten knowingly, deletions among it, by author."""
        held = self._keys.get(key)
        return held.versions if held else ()

    def scan(self, prefix: str) -> list[str]:
        """All keys with a value that begin so, sorted."""
        return sorted(
            key
            for key, held in self._keys.items()
            if key.startswith(prefix) and not all(version.deletes for version in held.versions)
        )

    def seen(self, key: str) -> VersionVector:
        """All that has been here of a key, and all that this had seen."""
        held = self._keys.get(key)
        return held.seen if held else _NOTHING

    def take(self, author: NodeId, sequence: int, entry: Entry) -> list[tuple[Dot, list[Dot]]]:
        """Add an entry; what of its key counts no more, this one perhaps among it, and because of
        which others. An entry that was overwritten before it came was so by something that the
        present values come after."""
        context = VersionVector(entry.context)
        dot_seen = context.advance(author, sequence)
        version = Version(author, sequence, entry.value, entry.stamp, entry.deletes)
        held = self._keys.get(entry.key)
        if held is None:
            held = self._keys[entry.key] = _Key(dot_seen, (version,))
            held.hold(entry.deletes)
            return []
        held.hold(entry.deletes)
        kept: list[Version] = []
        replaced: list[tuple[Dot, list[Dot]]] = []
        for old in held.versions:
            if context.sees(old.author, old.sequence):
                replaced.append(((old.author, old.sequence), [(author, sequence)]))
            else:
                kept.append(old)
        if held.seen.sees(author, sequence):  # somebody has overwritten it already
            later = [(old.author, old.sequence) for old in kept]
            replaced.append(((author, sequence), later))
        else:
            kept.append(version)
        held.versions = tuple(sorted(kept, key=lambda old: (old.author, old.sequence)))
        held.seen = held.seen.merge(dot_seen)
        return replaced

    def counts(self, key: str, author: NodeId, sequence: int) -> bool:
        """Whether an entry is a value of its key, or the deletion of one."""
        return any((v.author, v.sequence) == (author, sequence) for v in self._keys[key].versions)

    def is_buried(self, key: str, values: int, stable: Mapping[str, int]) -> bool:
        """Whether nothing but deletions is held of a key, these values left aside, and everybody
        has all that they had seen. Several who did not know of each other may have deleted it."""
        held = self._keys[key]
        return held.entries - held.deletions == values and all(
            stable.get(author, 0) >= last for author, last in held.seen.items()
        )

    def drop(self, key: str, author: NodeId, sequence: int, deletes: bool) -> None:
        """One entry of it is held no more, and is no value of it, either; with the last of them
        goes all that was known of the key."""
        held = self._keys[key]
        dot = (author, sequence)
        held.versions = tuple(v for v in held.versions if (v.author, v.sequence) != dot)
        held.entries -= 1
        held.deletions -= deletes
        if held.entries == 0:
            del self._keys[key]
