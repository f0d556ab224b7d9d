"""The values of the store's keys, each with its causal context.

Invariant: a value disappears from a key only when an entry comes whose writer had seen it, or when
everything of the key is dropped. Entries may come in any order of authors: taking them commutes.

Values carry the writer's causal context of their key: dotted version vectors (Almeida, Baquero,
Goncalves, Preguica and Fonte 2014, *Scalable and Accurate Causality Tracking for Eventually
Consistent Stores*). Since an author's entries arrive in order, "has seen (author, n)" implies all
that author's earlier entries.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
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

    @property
    def dot(self) -> Dot:
        return (self.author, self.sequence)


@dataclass(slots=True)
class _Key:
    """`entries` counts those of this key in batches that are held; `replaced` are values among them
    that count no more."""

    seen: VersionVector
    versions: tuple[Version, ...]
    entries: int = 1
    replaced: dict[Dot, None] | None = None  # most keys have none


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

    def take(self, author: NodeId, sequence: int, entry: Entry) -> list[tuple[Version, list[Dot]]]:
        """Add an entry; what of its key counts no more, this one perhaps among it, and because of
        which others. An entry that was overwritten before it came was so by something that the
        present values come after."""
        context = VersionVector(entry.context)
        dot_seen = context.advance(author, sequence)
        version = Version(author, sequence, entry.value, entry.stamp, entry.deletes)
        held = self._keys.get(entry.key)
        if held is None:
            self._keys[entry.key] = _Key(dot_seen, (version,))
            return []
        held.entries += 1
        kept: list[Version] = []
        replaced: list[tuple[Version, list[Dot]]] = []
        for old in held.versions:
            if context.sees(old.author, old.sequence):
                replaced.append((old, [version.dot]))
            else:
                kept.append(old)
        if held.seen.sees(author, sequence):  # somebody has overwritten it already
            replaced.append((version, [old.dot for old in kept]))
        else:
            kept.append(version)
        for old, _ in replaced:
            if not old.deletes:
                held.replaced = held.replaced or {}
                held.replaced[old.dot] = None
        held.versions = tuple(sorted(kept, key=lambda old: (old.author, old.sequence)))
        held.seen = held.seen.merge(dot_seen)
        return replaced

    def counts(self, key: str, author: NodeId, sequence: int) -> bool:
        """Whether an entry is a value of its key, or the deletion of one."""
        return any(version.dot == (author, sequence) for version in self._keys[key].versions)

    def is_over(self, deletion: Entry, here: Container[Dot], stable: Mapping[str, int]) -> bool:
        """Whether a deletion is needed no more: everybody has what it deletes, and none of that is
        held, but for these."""
        context = VersionVector(deletion.context)
        return all(stable.get(author, 0) >= last for author, last in context.items()) and not any(
            context.sees(*dot) and dot not in here
            for dot in self._keys[deletion.key].replaced or ()
        )

    def drop(self, key: str, author: NodeId, sequence: int) -> None:
        """One entry of it is held no more, and is no value of it, either; with the last of them
        goes all that was known of the key."""
        held = self._keys[key]
        dot = (author, sequence)
        held.versions = tuple(version for version in held.versions if version.dot != dot)
        if held.replaced is not None:
            held.replaced.pop(dot, None)
        held.entries -= 1
        if held.entries == 0:
            del self._keys[key]
