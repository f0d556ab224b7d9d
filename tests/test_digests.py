"""What an exchange costs grows with what differs, and not with what there is."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from protocol import codec
from protocol.config import GossipConfig
from protocol.gossip import SHORT_DIGEST, Gossip, GossipMessage
from protocol.identity import NOBODY, Identity, NodeId
from protocol.messages import Message
from protocol.messages.sharing import Delta, Digest, DigestSums, PartDigest, Push, Summary
from protocol.sim.signatures import Secrets, SimulatedIdentity
from protocol.store import PARTS, Store, part_of
from protocol.turn import Turn

CONFIG = GossipConfig()


class Pair:
    """Two nodes that hold what many authors have written."""

    def __init__(self, authors: int, entries: int = 1) -> None:
        self.secrets: Secrets = {}
        self.one, self.other = (self._gossip(seed) for seed in (b"1" * 32, b"2" * 32))
        self.writers = [
            Store(self._identity(number.to_bytes(32, "big")), "team", 10_000)
            for number in range(authors)
        ]
        self.sent: list[Message] = []
        for writer in self.writers:
            for entry in range(entries):
                self.write(writer, f"k{entry}", self.one, self.other)

    def _identity(self, seed: bytes) -> Identity:
        return SimulatedIdentity(seed, self.secrets)

    def _gossip(self, seed: bytes) -> Gossip:
        return Gossip(Store(self._identity(seed), "team", 10_000), CONFIG, Random(1), 0)

    def write(self, writer: Store, key: str, *holders: Gossip) -> bytes:
        encoded, _ = writer.write([(f"{writer.identity.node}/{key}", b"x" * 100)], 1)
        for holder in holders:
            holder.store.merge(encoded)
        return encoded

    def say(self, sender: Gossip, message: GossipMessage) -> int:
        """Until nothing more is said; the bytes of all of it."""
        size = 0
        wire: list[tuple[Gossip, GossipMessage]] = [(sender, message)]
        for speaker, said in wire:
            self.sent.append(said)
            size += len(codec.encode(said))
            hearer = self.other if speaker is self.one else self.one
            turn = Turn(0, 0, 1)
            hearer.receive(turn, speaker.store.identity.node, said)
            for item in [*turn.before, *turn.after]:
                assert isinstance(item, tuple)
                assert isinstance(item[2], GossipMessage)
                wire.append((hearer, item[2]))
            assert len(wire) < 100, "the exchange does not end"
        return size

    def compare(self) -> int:
        """One tells the other its fingerprint: the bytes of all that follows."""
        self.sent.clear()
        fingerprint = self.one.store.fingerprint()
        return self.say(self.one, Summary(fingerprint, b"", False, 0, 0, NOBODY))

    def is_level(self) -> bool:
        return self.one.store.vector() == self.other.store.vector()

    def cost_of(self, differing: int) -> int:
        """Bytes of a comparison when so many authors have written something new."""
        for number in range(differing):
            holder = (self.one, self.other)[number % 2]
            self.write(self.writers[number * 7 % len(self.writers)], "new", holder)
        size = self.compare()
        assert self.is_level()
        return size


def kinds(pair: Pair) -> Iterator[type]:
    return (type(message) for message in pair.sent)


def test_a_few_authors_are_told_of_at_once() -> None:
    pair = Pair(SHORT_DIGEST // 2)
    pair.cost_of(2)
    assert Digest in kinds(pair)
    assert DigestSums not in kinds(pair)


def test_of_many_authors_sums_come_first_and_then_the_parts_that_differ() -> None:
    pair = Pair(300)
    pair.cost_of(2)
    assert list(kinds(pair))[:3] == [Summary, DigestSums, PartDigest]
    assert Digest not in kinds(pair)
    told = next(message for message in pair.sent if isinstance(message, PartDigest))
    assert len(told.parts) == 2
    assert len(told.vector) < 40


def test_the_cost_does_not_grow_with_what_there_is() -> None:
    """Four times the authors, and eight times the entries: the same difference costs the same, but
    for the other authors of the parts in question."""
    few, many, long = Pair(250), Pair(1_000), Pair(250, entries=8)
    costs = [pair.cost_of(1) for pair in (few, many, long)]
    assert costs[1] < costs[0] + 1_000
    assert costs[2] < costs[0] + 100
    whole = len(codec.encode(Digest(many.one.store.vector(), True)))
    assert costs[1] < whole / 5


def test_the_cost_grows_with_what_differs() -> None:
    pair = Pair(500)
    costs = [pair.cost_of(differing) for differing in (0, 1, 8, 64)]
    assert costs[0] < 100
    assert costs == sorted(costs)
    assert costs[3] > 10 * costs[1]


def test_a_delta_holds_what_is_lacking_and_no_more() -> None:
    pair = Pair(300)
    pair.cost_of(6)
    deltas = [message for message in pair.sent if isinstance(message, Delta)]
    assert sum(len(delta.batches) for delta in deltas) == 6


def test_an_author_that_only_one_side_knows_is_found() -> None:
    pair = Pair(300)
    stranger = Store(pair._identity(b"s" * 32), "team", 10)
    for holder in (pair.one, pair.other):
        pair.write(stranger, "k", holder)
        pair.compare()
        assert pair.is_level()


def test_who_knows_few_authors_gets_all_from_who_knows_many() -> None:
    pair = Pair(0)
    for number in range(200):
        writer = Store(pair._identity(bytes([number + 3]) * 32), "team", 10)
        pair.write(writer, "k", pair.one)
    pair.compare()
    assert pair.is_level()
    assert len(pair.other.store.vector()) == 200


def test_a_gap_is_asked_for_with_the_parts_it_is_in() -> None:
    pair = Pair(300)
    writer = pair.writers[0]
    pair.write(writer, "lost", pair.one)
    pair.say(pair.one, Push((pair.write(writer, "found", pair.one),)))
    asked = next(message for message in pair.sent if isinstance(message, PartDigest))
    assert asked.parts == (part_of(writer.identity.node),)
    assert pair.is_level()


def test_who_is_shown_sums_learns_what_the_other_has() -> None:
    """The matrix clock, by which what all have is collected, works without whole digests."""
    pair = Pair(300)
    pair.cost_of(5)
    own = pair.one.store.vector()
    stable = pair.one.matrix.stable(own, [pair.other.store.identity.node])
    behind = [author for author, last in own.items() if stable.get(author, 0) < last]
    assert len(behind) <= 5, "at most what has just been sent"


@pytest.mark.parametrize("sums", [(), (b"x",), (b"",) * PARTS])
def test_sums_that_make_no_sense_are_answered_with_all(sums: tuple[bytes, ...]) -> None:
    pair = Pair(100)
    turn = Turn(0, 0, 1)
    pair.one.receive(turn, NodeId("n"), DigestSums(sums))
    ((_, _, answer),) = turn.after  # type: ignore[misc]
    assert isinstance(answer, PartDigest)
    assert len(answer.vector) == 100


def test_all_parts_are_used() -> None:
    ids = [Identity(number.to_bytes(32, "big")).node for number in range(1, 1_500)]
    assert {part_of(node) for node in ids} == set(range(PARTS))
