"""Shared values: what a client is told that it has written is on disk, each write by itself, also
while the team is overloaded and all else waits."""

from __future__ import annotations

from random import Random

from protocol import codec
from protocol.clocks import SECOND, Nanoseconds
from protocol.config import GossipConfig
from protocol.effects import KeepBatch, Reply
from protocol.entries import CLIENT_VALUE_SIZE_MAX, FAMILIES, NUMBER_MAX, Entries
from protocol.events import EntryWritten
from protocol.gossip import Gossip
from protocol.identity import Identity
from protocol.store import VALUE_SIZE_MAX, Store
from protocol.store.families import Joined, Members
from protocol.turn import Turn

ADA = Identity(b"a" * 32)
PACE = 4  # entries a second


class Shop:
    """One node's entries, by hand; what is answered with each request."""

    def __init__(self, entries_max: int = 1_000, size_max: int = 2**40) -> None:
        store = Store(ADA, "team", entries_max, size_max, FAMILIES)
        self.gossip = Gossip(store, GossipConfig(pace_min=PACE), Random(1), 0)
        self.entries = Entries(ADA.node, self.gossip)
        self.kept = 0  # batches on disk

    def write(self, key: str, value: bytes | None, now: Nanoseconds = 0) -> Reply:
        """The answer, which comes after what it speaks of is on disk."""
        turn = Turn(now, now, 1)
        self.entries.write(turn, EntryWritten(1, key, value))
        self.kept += sum(isinstance(record, KeepBatch) for record in turn.records)
        (reply,) = [each for each in (*turn.before, *turn.after) if isinstance(each, Reply)]
        assert (reply in turn.after) == bool(turn.records) == (not reply.error)
        return reply

    def overload(self) -> None:
        self.gossip.pace.overloaded()
        assert self.gossip.pace.limit == PACE

    def read(self, key: str) -> Joined:
        return self.gossip.store.joined(f"user/{key}")


def test_each_answered_write_counts_in_an_overloaded_team() -> None:
    shop = Shop()
    shop.overload()
    answered = [not shop.write("sum/n", b"1").error for _ in range(2 * PACE)]
    assert answered == [True] * PACE + [False] * PACE
    assert shop.read("sum/n") == shop.kept == PACE
    items = [b"%d" % number for number in range(PACE)]
    assert all(not shop.write("set/s", item, SECOND).error for item in items)
    assert shop.read("set/s") == frozenset(items)


def test_clients_who_write_too_fast_are_told_to_come_again() -> None:
    shop = Shop()
    shop.overload()
    for _ in range(PACE):
        shop.write("k", b"x")
    refused = shop.write("k", b"x")
    assert (refused.error, refused.detail) == (
        "Busy",
        "the others cannot follow so many writes: try again in a moment",
    )
    assert not shop.write("k", b"x", SECOND // PACE).error


def test_what_waits_of_the_team_s_own_writes_holds_up_no_client() -> None:
    shop = Shop()
    shop.overload()
    turn = Turn(0, 0, 1)
    shop.gossip.write(turn, [(f"claim/{number}", b"") for number in range(100)])
    assert shop.gossip.pace.waiting
    assert not shop.write("k", b"x").error


def test_an_entry_beyond_the_quota_of_bytes_is_refused() -> None:
    shop = Shop(size_max=300_000)
    assert not shop.write("one", b"x" * 200_000).error
    refused = shop.write("two", b"x" * 200_000)
    assert (refused.error, refused.detail) == (
        "Busy",
        "this node holds as much as others take from it: delete some",
    )
    assert shop.read("two") == ()


def test_who_is_at_the_end_of_the_quota_can_delete() -> None:
    shop = Shop(entries_max=32)
    answers = [shop.write(f"k{number}", b"x").error for number in range(32)]
    assert answers == [""] * 30 + ["Busy"] * 2, "a sixteenth is kept for deletions"
    assert not shop.write("k0", None).error
    assert shop.read("k0") == ()


def test_a_set_that_grows_too_large_is_refused_and_stays_as_it_is() -> None:
    shop = Shop()
    fit = VALUE_SIZE_MAX // CLIENT_VALUE_SIZE_MAX - 1
    items = [bytes([number]) * CLIENT_VALUE_SIZE_MAX for number in range(fit + 1)]
    answers = [shop.write("set/s", item) for item in items]
    assert [answer.error for answer in answers] == [""] * fit + ["InvalidEntry"]
    assert answers[-1].detail == (
        f"the set would have {len(codec.pack_value(Members(tuple(items))))} bytes, "
        f"the limit is {VALUE_SIZE_MAX}"
    )
    assert shop.read("set/s") == frozenset(items[:fit])


def test_a_sum_stays_a_number_that_every_reader_can_hold() -> None:
    shop = Shop()
    assert not shop.write("sum/n", b"%d" % NUMBER_MAX).error
    refused = shop.write("sum/n", b"1")
    assert (refused.error, refused.detail) == (
        "InvalidEntry",
        f"what this node has added would be over {NUMBER_MAX}",
    )
    assert shop.read("sum/n") == NUMBER_MAX
