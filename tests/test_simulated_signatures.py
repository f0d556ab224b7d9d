"""Simulated signatures are as good as real ones, and change nothing about a run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from protocol.identity import SIGNATURE_SIZE, Identity
from protocol.sim.plan import draw
from protocol.sim.scenario import simulate
from protocol.sim.signatures import Secrets, SimulatedIdentity

WORLD: Secrets = {}
ADA, BOB = (SimulatedIdentity(name * 32, WORLD) for name in (b"a", b"b"))
WORDS = b"words"
SIGNATURE = ADA.sign(WORDS)


def test_what_the_owner_signed_is_good_at_everybody_s() -> None:
    assert len(SIGNATURE) == SIGNATURE_SIZE
    assert all(node.verify(ADA.public_key, SIGNATURE, WORDS) for node in (ADA, BOB))


def test_nobody_signs_for_another() -> None:
    assert not BOB.verify(ADA.public_key, BOB.sign(WORDS), WORDS)
    assert not BOB.verify(BOB.public_key, SIGNATURE, WORDS)


@pytest.mark.parametrize("bit", [0, 1, 255, 8 * SIGNATURE_SIZE - 1])
def test_no_bit_of_a_signature_may_differ(bit: int) -> None:
    flipped = (int.from_bytes(SIGNATURE, "big") ^ (1 << bit)).to_bytes(SIGNATURE_SIZE, "big")
    assert not BOB.verify(ADA.public_key, flipped, WORDS)


@pytest.mark.parametrize("signature", [b"", SIGNATURE[:-1], SIGNATURE + b"\0", bytes(64)])
def test_what_is_no_signature_is_no_good(signature: bytes) -> None:
    assert not BOB.verify(ADA.public_key, signature, WORDS)


def test_no_bit_of_the_words_may_differ() -> None:
    assert not BOB.verify(ADA.public_key, SIGNATURE, b"vords")


def test_a_key_from_outside_the_world_signs_nothing_in_it() -> None:
    stranger = SimulatedIdentity(b"s" * 32, {})
    assert not ADA.verify(stranger.public_key, stranger.sign(WORDS), WORDS)
    assert not ADA.verify(b"", SIGNATURE, WORDS)


def test_a_node_is_called_the_same_with_either_kind() -> None:
    real = Identity(b"a" * 32)
    assert (ADA.node, ADA.public_key) == (real.node, real.public_key)
    assert not ADA.verify(ADA.public_key, real.sign(WORDS), WORDS)


def test_a_share_of_the_seeds_draws_real_ones() -> None:
    drawn = [draw(seed).real_signatures for seed in range(800)]
    assert 60 < sum(drawn) < 140


@pytest.mark.parametrize("seed", [7, 9])
def test_a_run_takes_the_same_course_with_either_kind(seed: int) -> None:
    real, simulated = (
        simulate(seed, plan=replace(draw(seed), real_signatures=kind)) for kind in (True, False)
    )
    assert real.trace_digest == simulated.trace_digest
    assert real.trace
