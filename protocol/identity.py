"""Who a node is: an Ed25519 key, and the id that follows from it.

Invariant: a node id names exactly one public key, so whoever holds the key is the node, whatever
its address or name, and nobody else can sign for it.

Signing is deterministic (RFC 8032, section 5.1.6) and therefore allowed on this floor; the
randomness of a new key comes from the host as a seed.
"""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from typing import NewType

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

NodeId = NewType("NodeId", str)

NOBODY = NodeId("")
KEY_SIZE = 32
SIGNATURE_SIZE = 64
CACHED_SIZE_MAX = 2_048  # of a message: the cache holds 32 MiB at most
_ID_SIZE = 10  # bytes of the key's hash: 80 bits, 16 characters of base32


@lru_cache(maxsize=16_384)
def node_id_of(public_key: bytes) -> NodeId:
    """The id of the node that holds this 32-byte public key: 16 characters a-z, 2-7."""
    assert len(public_key) == KEY_SIZE
    digest = hashlib.sha256(public_key).digest()[:_ID_SIZE]
    return NodeId(base64.b32encode(digest).decode().lower())


def verify(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether `signature` was made over `message` by the holder of `public_key`.

    Pure, hence cached: a batch that arrives by three ways is checked once. A long message is not
    kept for that.
    """
    if len(message) > CACHED_SIZE_MAX:
        return _verify(public_key, signature, message)
    return _verify_cached(public_key, signature, message)


def _verify(public_key: bytes, signature: bytes, message: bytes) -> bool:
    if len(public_key) != KEY_SIZE or len(signature) != SIGNATURE_SIZE:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


_verify_cached = lru_cache(maxsize=16_384)(_verify)


class Identity:
    """A node's private key with its public half and id at hand."""

    __slots__ = ("_private", "node", "public_key")

    def __init__(self, seed: bytes) -> None:
        """`seed` is the 32-byte Ed25519 private key: whoever has it is this node."""
        assert len(seed) == KEY_SIZE
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.public_key = self._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.node = node_id_of(self.public_key)

    def __repr__(self) -> str:
        return f"Identity({self.node})"

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature of this node over `message`."""
        return self._private.sign(message)

    def verify(self, public_key: bytes, signature: bytes, message: bytes) -> bool:
        """What this node makes of another's signature. Machines ask their identity, not the
        function: a simulator puts cheaper signatures in the place of both."""
        return verify(public_key, signature, message)
