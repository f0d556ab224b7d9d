"""Signatures of a simulated world that cost a hundredth of real ones.

Ed25519 takes a tenth of a run's time and more, and tells the simulator nothing that its own tests
do not.
Here a signature is BLAKE2b keyed with the signer's secret, and whoever checks it finds that secret
by the public key in the world's registry. Nobody can forge one all the same: a peer signs through
its own identity only, and sees no secret. Keys, node ids and sizes are the real ones, so that a run
takes the same course either way.
"""

from __future__ import annotations

from hashlib import blake2b
from hmac import compare_digest
from typing import TypeAlias

from protocol.identity import SIGNATURE_SIZE, Identity

Secrets: TypeAlias = dict[bytes, bytes]  # of a world, by public key


class SimulatedIdentity(Identity):
    """Signs and checks by the registry of one world: what comes from outside it is no good."""

    __slots__ = ("_secret", "_secrets")

    def __init__(self, seed: bytes, secrets: Secrets) -> None:
        super().__init__(seed)
        self._secret = seed
        self._secrets = secrets
        secrets[self.public_key] = seed

    def sign(self, message: bytes) -> bytes:
        return _keyed(self._secret, message)

    def verify(self, public_key: bytes, signature: bytes, message: bytes) -> bool:
        secret = self._secrets.get(public_key)
        return secret is not None and compare_digest(_keyed(secret, message), signature)


def _keyed(secret: bytes, message: bytes) -> bytes:
    return blake2b(message, digest_size=SIGNATURE_SIZE, key=secret).digest()
