"""The replicated store: each author writes a gap-free sequence of signed entries; a key keeps every
value that no later writer has seen.

Invariants: for each author the sequences held are 1..n without a gap, and n only grows; a value
disappears from a key only when an entry arrives whose writer had seen it. Merging is commutative,
associative and idempotent, so any two stores with equal digests hold equal values.

An author signs a batch at a time: the batch's link is SHA-256 over the previous link and the
batch, so that one signature covers all the author ever wrote. Values carry the writer's causal
context of their key: dotted version vectors (Almeida, Baquero et al. 2014). Since an author's
entries arrive in order, "has seen (author, n)" implies all that author's earlier entries.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from protocol import codec
from protocol.clocks import VersionVector
from protocol.errors import RemoteProtocolError
from protocol.identity import KEY_SIZE, Identity, NodeId, node_id_of

KEY_LENGTH_MAX = 512  # characters of a key
ENTRIES_PER_BATCH_MAX = 1_000
VALUE_SIZE_MAX = 2 * 1024 * 1024
FINGERPRINT_SIZE = 16  # bytes
_FINGERPRINT_MODULUS = 1 << (8 * FINGERPRINT_SIZE)


@dataclass(frozen=True, slots=True)
class Entry:
    """One write: `context` is what its author had seen of the key, `stamp` a hybrid clock."""

    key: str
    value: bytes
    context: Mapping[str, int]
    stamp: int


@dataclass(frozen=True, slots=True)
class Body:
    """The entries of a batch as they are hashed and signed."""

    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive entries of one author; `first` is the sequence of the first of them."""

    public_key: bytes
    first: int
    body: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Version:
    """One of the values of a key: who wrote it (its dot), and when by their hybrid clock."""

    author: NodeId
    sequence: int
    value: bytes
    stamp: int


@dataclass(frozen=True, slots=True)
class Merged:
    """What a batch brought: entries `first`..`last` of `author`, and the keys they wrote."""

    author: NodeId
    first: int
    last: int
    keys: tuple[str, ...]


class Gap(Exception):
    """Entries between what is held and what arrived are missing."""


class QuotaReached(Exception):
    """This node has written as many entries as others take from one author."""


@dataclass(slots=True)
class _Author:
    """What is held of one author. `batches[i]` begins at sequence `firsts[i]`."""

    last: int
    link: bytes
    firsts: list[int]
    batches: list[bytes]


@dataclass(slots=True)
class _Key:
    seen: VersionVector
    versions: tuple[Version, ...]


class Store:
    """See the module's text."""

    def __init__(self, identity: Identity, cluster: str, entries_per_author_max: int) -> None:
        self.identity = identity
        self.cluster = cluster
        self.entries_per_author_max = entries_per_author_max
        self._authors: dict[NodeId, _Author] = {}
        self._keys: dict[str, _Key] = {}
        self._fingerprint = 0

    def __repr__(self) -> str:
        entries = sum(author.last for author in self._authors.values())
        return f"<Store {len(self._keys)} keys, {entries} entries of {len(self._authors)} authors>"

    # -- reading ------------------------------------------------------------------------------

    def read(self, key: str) -> tuple[Version, ...]:
        """The values of `key` that nobody has overwritten knowingly, by author; () if none."""
        found = self._keys.get(key)
        return found.versions if found else ()

    def scan(self, prefix: str = "") -> list[str]:
        """All keys that begin with `prefix`, sorted."""
        return sorted(key for key in self._keys if key.startswith(prefix))

    def vector(self) -> dict[str, int]:
        """The digest: author -> highest sequence held."""
        return {author: held.last for author, held in self._authors.items()}

    def fingerprint(self) -> bytes:
        """16 bytes that are equal when two stores hold the same entries, kept up to date batch by
        batch."""
        return self._fingerprint.to_bytes(FINGERPRINT_SIZE, "big")

    def last_of(self, author: NodeId) -> int:
        """The highest sequence held of `author`; 0 if none."""
        held = self._authors.get(author)
        return held.last if held else 0

    def lacks(self, vector: Mapping[str, int]) -> bool:
        """Whether a peer with this digest holds something that this store does not."""
        return any(last > self.last_of(NodeId(author)) for author, last in vector.items())

    def missing(self, vector: Mapping[str, int], size_max: int) -> tuple[list[bytes], bool]:
        """Batches that a peer with this digest lacks, oldest first for each author, within
        `size_max` bytes (but at least one), and whether there are more."""
        found: list[bytes] = []
        size = 0
        for author, held in self._authors.items():
            have = vector.get(author, 0)
            if have >= held.last:
                continue
            for batch in held.batches[bisect_right(held.firsts, have) :]:
                size += len(batch)
                if size > size_max and found:
                    return found, True
                found.append(batch)
        return found, False

    # -- writing ------------------------------------------------------------------------------

    def write(self, writes: Sequence[tuple[str, bytes]], stamp: int) -> tuple[bytes, Merged]:
        """Write values as this node, each replacing what is now seen of its key. Returns the
        signed batch, encoded: it must be durable before anybody else sees it, or a crash would
        let this author use a sequence twice. QuotaReached if that would be one entry too many."""
        assert 0 < len(writes) <= ENTRIES_PER_BATCH_MAX
        if self.last_of(self.identity.node) + len(writes) > self.entries_per_author_max:
            raise QuotaReached
        entries = []
        own = self.identity.node
        first = self.last_of(own) + 1
        fresh: dict[str, VersionVector] = {}
        for at, (key, value) in enumerate(writes):
            assert len(key) <= KEY_LENGTH_MAX
            assert len(value) <= VALUE_SIZE_MAX
            known = self._keys.get(key)
            seen = fresh.get(key) or (known.seen if known else VersionVector())
            entries.append(Entry(key, value, dict(seen), stamp))
            fresh[key] = seen.advance(own, first + at)
        body = codec.pack_value(Body(tuple(entries)))
        link = self._next_link(own, first, body)
        signature = self.identity.sign(self._statement(link))
        encoded = codec.pack_value(Batch(self.identity.public_key, first, body, signature))
        return encoded, self._take(own, first, tuple(entries), link, encoded)

    def merge(self, encoded: bytes) -> Merged | None:
        """Take a batch from elsewhere: what was new, or None if nothing. Gap if earlier entries
        are missing; RemoteProtocolError if the batch is malformed, forged or over a quota."""
        return self._merge(encoded, self.entries_per_author_max)

    def _merge(self, encoded: bytes, quota: int | None) -> Merged | None:
        batch = codec.unpack_value(Batch, encoded)
        if len(batch.public_key) != KEY_SIZE:
            raise RemoteProtocolError("a public key has 32 bytes")
        author = node_id_of(batch.public_key)
        held = self.last_of(author)
        if batch.first <= held:
            return None
        if batch.first != held + 1:
            raise Gap
        entries = _entries_of(batch)
        if quota is not None and held + len(entries) > quota:
            raise RemoteProtocolError(f"{author} is over its quota of entries")
        link = self._next_link(author, batch.first, batch.body)
        if not self.identity.verify(batch.public_key, batch.signature, self._statement(link)):
            raise RemoteProtocolError(f"the signature is not {author}'s for this history")
        return self._take(author, batch.first, entries, link, encoded)

    def restore(self, batches: Iterable[bytes]) -> None:
        """Take back batches that this node itself had made durable."""
        for encoded in batches:
            self._merge(encoded, None)

    def _statement(self, link: bytes) -> bytes:
        """What is signed. The cluster is part of it: entries cannot be carried into another."""
        return b"quorate batch\0" + self.cluster.encode() + b"\0" + link

    def _next_link(self, author: NodeId, first: int, body: bytes) -> bytes:
        held = self._authors.get(author)
        previous = held.link if held else b""
        return hashlib.sha256(previous + first.to_bytes(8, "big") + body).digest()

    def _take(
        self, author: NodeId, first: int, entries: tuple[Entry, ...], link: bytes, encoded: bytes
    ) -> Merged:
        held = self._authors.setdefault(author, _Author(0, b"", [], []))
        assert first == held.last + 1, "a gap in an author's sequence"
        self._fingerprint -= _mark(author, held)
        held.last += len(entries)
        held.link = link
        held.firsts.append(first)
        held.batches.append(encoded)
        self._fingerprint = (self._fingerprint + _mark(author, held)) % _FINGERPRINT_MODULUS
        for at, entry in enumerate(entries):
            self._apply(author, first + at, entry)
        return Merged(author, first, held.last, tuple(dict.fromkeys(e.key for e in entries)))

    def _apply(self, author: NodeId, sequence: int, entry: Entry) -> None:
        known = self._keys.get(entry.key)
        context = VersionVector(entry.context)
        dot_seen = context.advance(author, sequence)
        version = Version(author, sequence, entry.value, entry.stamp)
        if known is None:
            self._keys[entry.key] = _Key(dot_seen, (version,))
            return
        kept = [old for old in known.versions if not context.sees(old.author, old.sequence)]
        if not known.seen.sees(author, sequence):  # else somebody has overwritten it already
            kept.append(version)
        known.versions = tuple(sorted(kept, key=lambda old: (old.author, old.sequence)))
        known.seen = known.seen.merge(dot_seen)


def _entries_of(batch: Batch) -> tuple[Entry, ...]:
    entries = codec.unpack_value(Body, batch.body).entries
    if not 0 < len(entries) <= ENTRIES_PER_BATCH_MAX:
        raise RemoteProtocolError(f"a batch of {len(entries)} entries")
    for entry in entries:
        if len(entry.key) > KEY_LENGTH_MAX or len(entry.value) > VALUE_SIZE_MAX:
            raise RemoteProtocolError("a key or value over its size limit")
    return entries


def _mark(author: NodeId, held: _Author) -> int:
    """An author's share of the fingerprint; a sum of hashes can be updated in place. The link tells
    two histories of one author apart."""
    if held.last == 0:
        return 0
    digest = hashlib.sha256(f"{author}:{held.last}:".encode() + held.link).digest()
    return int.from_bytes(digest[:FINGERPRINT_SIZE], "big")
