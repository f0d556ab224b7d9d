"""Signed batches: what an author wrote, in the form in which it travels and is kept.

A batch's link is SHA-256 over the previous batch's link, its own place and its entries, and the
author signs the link: one signature covers all that the author ever wrote. The previous link
travels with the batch, so that it can be verified alone, when those before it were collected.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from protocol import codec
from protocol.errors import RemoteProtocolError
from protocol.identity import KEY_SIZE, Identity, NodeId, node_id_of

KEY_LENGTH_MAX = 512  # characters of a key
ENTRIES_PER_BATCH_MAX = 1_000
VALUE_SIZE_MAX = 2 * 1024 * 1024
BATCH_SIZE_MAX = 3 * 1024 * 1024  # bytes: one value, or a proof's two batches, fit into a message
BATCH_FILL = 1024 * 1024  # bytes beyond which another entry goes into the next batch
AUTHOR_SIZE = 40  # bytes that one author takes in an entry's context, about
LINK_SIZE = 32  # bytes
NO_LINK = b""  # before an author's first batch


@dataclass(frozen=True, slots=True)
class Entry:
    """One write: `context` is what its author had seen of the key, `stamp` a hybrid clock. A
    deletion has no value."""

    key: str
    value: bytes
    context: Mapping[str, int]
    stamp: int
    deletes: bool = False


@dataclass(frozen=True, slots=True)
class Body:
    """The entries of a batch as they are hashed and signed."""

    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive entries of one author; `first` is the sequence of the first of them, `previous`
    the link of the batch before."""

    public_key: bytes
    first: int
    previous: bytes
    body: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Opened:
    """A batch that is well formed; whether its author signed it is another question."""

    author: NodeId
    batch: Batch
    entries: tuple[Entry, ...]
    link: bytes

    @property
    def last(self) -> int:
        """The sequence of its last entry."""
        return self.batch.first + len(self.entries) - 1

    def is_signed(self, verifier: Identity, cluster: str) -> bool:
        """Whether its author signed it, in this place and for this cluster."""
        statement = _statement(cluster, self.link)
        return verifier.verify(self.batch.public_key, self.batch.signature, statement)


def sign_batch(
    identity: Identity, cluster: str, first: int, previous: bytes, entries: tuple[Entry, ...]
) -> bytes:
    """The next batch of this author, encoded."""
    body = codec.pack_value(Body(entries))
    link = link_of(previous, first, body)
    signature = identity.sign(_statement(cluster, link))
    return codec.pack_value(Batch(identity.public_key, first, previous, body, signature))


def open_batch(encoded: bytes) -> Opened:
    """What the bytes say; RemoteProtocolError if they are no batch."""
    if len(encoded) > BATCH_SIZE_MAX:
        raise RemoteProtocolError("a batch over its size limit")
    batch = codec.unpack_value(Batch, encoded)
    if len(batch.public_key) != KEY_SIZE:
        raise RemoteProtocolError("a public key has 32 bytes")
    if len(batch.previous) not in (0, LINK_SIZE):
        raise RemoteProtocolError(f"a link has {LINK_SIZE} bytes")
    entries = codec.unpack_value(Body, batch.body).entries
    if not 0 < len(entries) <= ENTRIES_PER_BATCH_MAX:
        raise RemoteProtocolError("a batch of no entries, or of too many")
    for entry in entries:
        if len(entry.key) > KEY_LENGTH_MAX or len(entry.value) > VALUE_SIZE_MAX:
            raise RemoteProtocolError("a key or value over its size limit")
        if entry.deletes and entry.value:
            raise RemoteProtocolError("a deletion with a value")
    link = link_of(batch.previous, batch.first, batch.body)
    return Opened(node_id_of(batch.public_key), batch, entries, link)


def link_of(previous: bytes, first: int, body: bytes) -> bytes:
    """The chain's value after a batch; 32 bytes."""
    return hashlib.sha256(previous + first.to_bytes(8, "big") + body).digest()


def _statement(cluster: str, link: bytes) -> bytes:
    """What is signed. The cluster is part of it: entries cannot be carried into another."""
    return b"quorate batch\0" + cluster.encode() + b"\0" + link
