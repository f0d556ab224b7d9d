"""A node is its key."""

from __future__ import annotations

import pytest

from protocol.identity import KEY_SIZE, Identity, node_id_of, verify

ADA = Identity(b"a" * KEY_SIZE)
BOB = Identity(b"b" * KEY_SIZE)


def test_the_same_key_is_the_same_node() -> None:
    assert Identity(b"a" * KEY_SIZE).node == ADA.node == node_id_of(ADA.public_key)
    assert ADA.node != BOB.node


def test_an_id_is_sixteen_plain_characters() -> None:
    assert len(ADA.node) == 16
    assert set(ADA.node) <= set("abcdefghijklmnopqrstuvwxyz234567")


def test_an_owner_s_signature_is_good() -> None:
    assert verify(ADA.public_key, ADA.sign(b"words"), b"words")


def test_nobody_signs_for_another() -> None:
    assert not verify(ADA.public_key, BOB.sign(b"words"), b"words")


def test_other_words_need_another_signature() -> None:
    assert not verify(ADA.public_key, ADA.sign(b"words"), b"other words")


def test_signing_is_deterministic() -> None:
    """RFC 8032, section 5.1.6: otherwise the simulator's traces would differ."""
    assert ADA.sign(b"words") == ADA.sign(b"words")


@pytest.mark.parametrize(("key", "signature"), [(b"", bytes(64)), (bytes(32), b""), (b"x", b"y")])
def test_malformed_keys_and_signatures_are_no_good(key: bytes, signature: bytes) -> None:
    assert not verify(key, signature, b"words")


def test_a_key_that_is_no_point_of_the_curve_is_no_good() -> None:
    for byte in range(256):
        assert not verify(bytes([byte]) * KEY_SIZE, bytes(64), b"words")


def test_a_seed_of_the_wrong_size_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        Identity(b"short")


def test_a_private_key_is_not_shown() -> None:
    assert repr(ADA) == f"Identity({ADA.node})"
