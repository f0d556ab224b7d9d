"""Spreading the store: what is new goes on at once, what was missed is repaired by digest.

    write, or first sight of a batch   Push to f random members, f = clamp(ceil(ln N) + 1, 2, 6), or
                                       more if this node wrote it; of a large batch only a Summary,
                                       so that it is fetched once
    every tick                         Summary (a fingerprint) to one random member; ticks are
                                       rarer while nothing is written
    Summary differs, or a gap          Digest (what I have); of many authors DigestSums first
    DigestSums                         PartDigest, of those parts of the authors that differ
    Digest, PartDigest                 Delta (what you lack), and a digest back if asked
    a Delta with Collected             HoldingsAsked, Holdings: see `returning`

Push reaches all but a few members in O(log N) steps; the digest exchange makes it certain
(Demers et al. 1987, rumor mongering backed by anti-entropy). An own batch is durable before it
is sent, here and in a Delta: a promise that its sequence is used.

When a Delta comes with more to follow, or a link's outbox overflows, own writes keep a pace until
that is over (see `pace`).

Digests are also the rows of a matrix clock: what every member has, and nothing counts of, is
dropped. Hence they tell only of what is durable: who has crashed could not get it again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import ceil, log
from random import Random
from typing import TypeAlias

from protocol.clocks import MILLISECOND, HybridClock, Nanoseconds
from protocol.config import GossipConfig
from protocol.effects import DropBatches, KeepBatch, KeepCollected, KeepLateness, KeepProof
from protocol.errors import RemoteProtocolError
from protocol.facts import RequestRefused
from protocol.facts.sharing import (
    AuthorForked,
    BatchCollected,
    BatchMerged,
    BatchRefused,
    HistorySkipped,
    ReturnedLate,
    SiblingsFound,
)
from protocol.identity import NOBODY, NodeId
from protocol.messages.sharing import (
    Collected,
    Delta,
    Digest,
    DigestSums,
    Forked,
    Holdings,
    HoldingsAsked,
    PartDigest,
    Push,
    Summary,
)
from protocol.pace import Pace
from protocol.returning import Returning
from protocol.store import (
    PARTS,
    Equivocation,
    Gap,
    Matrix,
    Merged,
    QuotaReached,
    Store,
    part_of,
)
from protocol.turn import Turn

GossipMessage: TypeAlias = (
    Push | Summary | Digest | DigestSums | PartDigest | Delta | HoldingsAsked | Forked
)

SHORT_DIGEST = 64  # authors: as long as the sums that would be sent first
REASONS_MAX = 64  # that refusals are counted by


def fanout_of(others: int, config: GossipConfig) -> int:
    """How many of so many others are told what is new here."""
    return max(min(ceil(log(others + 1)) + 1, config.fanout_max), config.fanout_min)


class Gossip:
    """Owns the store's traffic. `members` are the others that are believed alive. `refused` counts
    what was not taken, by reason; `lag` is how old each author's latest entry was when it came, in
    nanoseconds by the two nodes' wall clocks."""

    def __init__(
        self,
        store: Store,
        config: GossipConfig,
        random: Random,
        now: Nanoseconds,
        is_late: bool = False,
    ) -> None:
        self.store = store
        self.config = config
        self.random = random
        self.clock = HybridClock()
        self.matrix = Matrix()
        self.refused: Counter[str] = Counter()
        self.lag: dict[NodeId, Nanoseconds] = {}
        self.pace = Pace(config, now)
        self.returning = Returning(is_late)
        self._tick_at = now + random.randrange(config.tick_ns)
        self._quiet_ticks = 0
        self._collect_at = now + config.collect_interval_ns
        self._own: list[bytes] = []  # written in this step
        # (sender, batch, whether the sender wrote it), first seen in this step.
        self._fresh: list[tuple[NodeId, bytes, bool]] = []
        self._forwards = 0  # since `_forwards_from`, of what came from its author itself
        self._forwards_from = now
        self._proofs: list[Forked] = []  # found in this step

    def deadline(self) -> Nanoseconds:
        due = self.pace.due()
        return self._tick_at if due is None else min(due, self._tick_at)

    @property
    def has_news(self) -> bool:
        """Whether this step brought anything for `flush` to pass on."""
        return bool(self._own or self._fresh or self._proofs)

    def write(self, turn: Turn, writes: Sequence[tuple[str, bytes | None]]) -> None:
        """Write values as this node, now or, under overload, in a while; they go out when they are
        durable. Beyond the quota they are refused, and nobody hears of them: a lost claim or
        partial result costs time, no more."""
        self._write(turn, self.pace.admit(writes, turn.now))

    def write_for_client(self, turn: Turn, key: str, value: bytes | None) -> str:
        """Write one value now, ahead of all that waits: whoever computes it from what is held, or
        tells its client that it is on disk, needs that. Why it is not written; empty if it is. A
        deletion may use the room that is kept free of values."""
        if not self.pace.admits_client(turn.now):
            return "the others cannot follow so many writes: try again in a moment"
        full = "this node holds as much as others take from it: delete some"
        if value is not None and not self.store.has_room_for(len(value)):
            return full
        return "" if self._write(turn, ((key, value),)) else full

    def keep_pace(self, turn: Turn) -> None:
        """Write what has waited long enough."""
        self.pace.tick(turn.now)
        if self.pace.waiting:
            self._write(turn, self.pace.admit((), turn.now))

    def overflowed(self) -> None:
        """What was to be sent to somebody was dropped, for the link cannot carry so much."""
        self.pace.overloaded()

    def _write(self, turn: Turn, writes: Sequence[tuple[str, bytes | None]]) -> bool:
        """Whether there was room for them."""
        left = list(writes)
        while left:
            some = left[: self.store.fits_into_batch(left)]
            try:
                encoded, merged = self.store.write(some, self.clock.stamp(turn.wall))
            except QuotaReached:
                self.refused["own quota"] += len(left)
                turn.report(RequestRefused(f"{len(left)} writes beyond this node's quota"))
                return False
            del left[: len(some)]
            turn.persist(KeepBatch(merged.author, merged.first, merged.last, encoded))
            turn.report(BatchMerged(merged.author, merged.first, merged.last, merged.keys))
            self._own.append(encoded)
        return True

    def receive(self, turn: Turn, sender: NodeId, message: GossipMessage) -> None:
        """Take a message from another node."""
        match message:
            case Push():
                gaps = self._merge(turn, sender, message.batches, ())
                if gaps:
                    self._show(turn, sender, frozenset(map(part_of, gaps)), wants_answer=False)
            case Delta():
                self._take_delta(turn, sender, message)
            case Summary():
                self._compare(turn, sender, message)
            case Digest():
                self.matrix.learn(sender, message.vector)
                self._answer_digest(turn, sender, message, None)
            case DigestSums():
                self._compare_parts(turn, sender, message)
            case PartDigest():
                self.matrix.learn_part(sender, message.vector)
                self._answer_digest(turn, sender, message, frozenset(message.parts))
            case HoldingsAsked():
                page, more = self.store.holdings(message.after)
                turn.send_durable(sender, Holdings(page, more, self.returning.is_late))
            case Forked():
                self._take_proof(turn, sender, message)

    def summary_due(self, turn: Turn, members: Sequence[NodeId]) -> NodeId | None:
        """The random member to compare with, when it is time to."""
        if turn.now < self._tick_at:
            return None
        quiet = self._quiet_ticks >= self.config.quiet_after
        self._quiet_ticks += 1
        self._tick_at = turn.now + (self.config.quiet_tick_ns if quiet else self.config.tick_ns)
        return members[self.random.randrange(len(members))] if members else None

    def collect(self, turn: Turn, everybody: Iterable[NodeId]) -> None:
        """Now and then: drop what each of these members has and nobody needs. They are all that are
        not forgotten, whether they are there or not."""
        if turn.now < self._collect_at:
            return
        self._collect_at = turn.now + self.config.collect_interval_ns
        members = list(everybody)
        self.matrix.keep_only(members)
        dropped = self.store.collect(self.matrix.stable(self.store.vector(), members))
        if dropped:
            turn.persist(DropBatches(tuple(dropped)))
            for author, first in dropped:
                turn.report(BatchCollected(author, first))

    def flush(self, turn: Turn, members: Sequence[NodeId], summary: Summary) -> None:
        """At the end of a step: pass on what it brought, as one message to each chosen member;
        `summary` is this node's, for what is too large to be pushed."""
        self.wake_up(turn.now)
        if self._own:
            batches = tuple(self._own)
            self._own.clear()
            for member in self._choose(members, self.config.author_fanout):
                self._push(turn, member, batches, summary, is_own=True)
        if self._fresh:
            fresh = self._worth_forwarding(turn.now, len(members))
            for member in self._choose(members) if fresh else ():
                batches = tuple(batch for sender, batch in fresh if sender != member)
                if batches:
                    self._push(turn, member, batches, summary, is_own=False)
        for proof in self._proofs:
            for member in self._choose(members):
                turn.send(member, proof)
        self._proofs.clear()

    def _worth_forwarding(self, now: Nanoseconds, members: int) -> Sequence[tuple[NodeId, bytes]]:
        """What came in this step, for those who may lack it. Where an author tells everybody
        itself, these are who lost its word: to forward it saves them a tick, but in a busy team
        costs all several times what the news itself does, so there is a bound on that."""
        fresh, self._fresh = self._fresh, []
        if now >= self._forwards_from + self.config.tick_ns:
            self._forwards_from, self._forwards = now, 0
        relayed = [(sender, batch) for sender, batch, is_authors in fresh if not is_authors]
        if members <= self.config.author_fanout and self._forwards >= self.config.forwards_max:
            return relayed
        self._forwards += 1
        return [(sender, batch) for sender, batch, _ in fresh]

    def _push(
        self, turn: Turn, member: NodeId, batches: tuple[bytes, ...], summary: Summary, is_own: bool
    ) -> None:
        send = turn.send_durable if is_own else turn.send
        if sum(map(len, batches)) > self.config.push_size_max:
            turn.send_durable(member, summary)
        else:
            send(member, Push(batches))

    def wake_up(self, now: Nanoseconds) -> None:
        """There is something to compare again, here or in the log."""
        self._quiet_ticks = 0
        self._tick_at = min(self._tick_at, now + self.config.tick_ns)

    def _choose(self, members: Sequence[NodeId], at_least: int = 0) -> Sequence[NodeId]:
        fanout = max(fanout_of(len(members), self.config), at_least)
        return members if len(members) <= fanout else self.random.sample(members, fanout)

    # -- comparing ---------------------------------------------------------------------------------

    def _compare(self, turn: Turn, sender: NodeId, message: Summary) -> None:
        if message.fingerprint == self.store.fingerprint():
            self.matrix.learn(sender, self.store.vector())
            if self.returning.asks(sender, turn.now):
                turn.send(sender, HoldingsAsked(NOBODY))
            return
        self.wake_up(turn.now)
        self._show(turn, sender, None, wants_answer=True)

    def _show(
        self, turn: Turn, node: NodeId, parts: frozenset[int] | None, wants_answer: bool
    ) -> None:
        """Tell what is here: all of it if that is short, else of the parts that may differ, and if
        these are not known then sums first."""
        if self.store.author_count() <= SHORT_DIGEST:
            turn.send_durable(node, Digest(self.store.vector(), wants_answer))
        elif parts is None:
            turn.send_durable(node, DigestSums(self.store.sums()))
        else:
            vector = self.store.vector(parts)
            turn.send_durable(node, PartDigest(tuple(sorted(parts)), vector, wants_answer))

    def _compare_parts(self, turn: Turn, sender: NodeId, message: DigestSums) -> None:
        """Where the sums are equal, the sender has what is here."""
        parts = self.store.differing(message.sums)
        equal = frozenset(range(PARTS)) - parts
        if equal:
            self.matrix.learn_part(sender, self.store.vector(equal))
        if parts:
            self._show(turn, sender, parts, wants_answer=True)

    def _answer_digest(
        self, turn: Turn, sender: NodeId, message: Digest | PartDigest, parts: frozenset[int] | None
    ) -> None:
        lacking = self.store.missing(message.vector, self.config.delta_size_max, parts)
        if lacking.batches or lacking.collected:
            delta = Delta(lacking.batches, lacking.collected, lacking.more)
            turn.send_durable(sender, delta)
        if message.wants_answer and self.store.lacks(message.vector):
            self._show(turn, sender, parts or frozenset(range(PARTS)), wants_answer=False)

    def _take_delta(self, turn: Turn, sender: NodeId, message: Delta) -> None:
        before = self.store.fingerprint()
        self._merge(turn, sender, message.batches, message.collected)
        if message.more:
            self.pace.overloaded()
        if message.more and self.store.fingerprint() != before:  # else it would never end
            self._show(turn, sender, None, wants_answer=False)

    def reconcile(
        self, turn: Turn, sender: NodeId, message: Holdings, others: Sequence[NodeId]
    ) -> None:
        """Drop what counts no more where the sender is. `others` are all that might
        know better, should it be late itself: also those that are not there just now."""
        if not self.returning.awaits(sender):
            return
        dropped = [each for holding in message.holdings for each in self.store.reconcile(holding)]
        if dropped:
            turn.persist(DropBatches(tuple(dropped)))
            turn.report(ReturnedLate(len(dropped)))
        if message.more and message.holdings:
            turn.send(sender, HoldingsAsked(message.holdings[-1].author))
        elif self.returning.answered(message.late, others, turn.now):
            turn.persist(KeepLateness(False))

    # -- taking in ---------------------------------------------------------------------------------

    def _merge(
        self, turn: Turn, sender: NodeId, batches: Sequence[bytes], collected: Sequence[Collected]
    ) -> set[NodeId]:
        """Merge what can be merged; the authors of what did not connect to what is held."""
        unconnected: set[NodeId] = set()
        liars: set[NodeId] = set()
        skipped = False
        gaps = {(gap.author, gap.first): gap for gap in collected}
        for encoded in batches:
            try:
                skipped |= self._skip_to(turn, encoded, gaps)
                merged = self.store.merge(encoded)
            except Gap as gap_before:
                unconnected.add(gap_before.author)
            except Equivocation as found:
                self._found_fork(turn, found.author)
            except RemoteProtocolError as fault:
                self._refuse(str(fault))
                turn.report(BatchRefused(sender, sender, str(fault)))
            else:
                if merged is not None:
                    self._merged(turn, sender, encoded, merged)
                elif self.store.proofs:
                    liars.add(self.store.author_of(encoded))
        for author in sorted(liars & self.store.proofs.keys()):
            self._refuse("of an author with two histories")
            if sender != author:  # it does not know yet
                turn.send(sender, self.store.proofs[author])
        for gap in gaps.values():
            skipped |= self._skip(turn, gap)
        if skipped and self.returning.skipped(turn.now):
            turn.persist(KeepLateness(True))
        return unconnected

    def _skip_to(
        self, turn: Turn, encoded: bytes, gaps: dict[tuple[NodeId, int], Collected]
    ) -> bool:
        """Skip what was collected before this batch; whether anything was."""
        if not gaps:
            return False
        author = self.store.author_of(encoded)
        gap = gaps.pop((author, self.store.last_of(author) + 1), None)
        return gap is not None and self._skip(turn, gap)

    def _skip(self, turn: Turn, gap: Collected) -> bool:
        first = self.store.last_of(gap.author) + 1
        if not self.store.skip(gap):
            return False
        turn.persist(KeepCollected(replace(gap, first=first)))
        turn.report(HistorySkipped(gap.author, first, gap.last))
        return True

    def _merged(self, turn: Turn, sender: NodeId, encoded: bytes, merged: Merged) -> None:
        turn.persist(KeepBatch(merged.author, merged.first, merged.last, encoded))
        turn.report(BatchMerged(merged.author, merged.first, merged.last, merged.keys))
        self._fresh.append((sender, encoded, sender == merged.author))
        newest = 0
        for key in merged.keys:
            versions = self.store.read(key)
            if versions:
                newest = max(newest, *(version.stamp for version in versions))
            if len(versions) > 1 and self.store.shows_siblings(key):
                authors = tuple(version.author for version in versions)
                turn.report(SiblingsFound(key, authors))
        if newest:
            self.clock.observe(newest, turn.wall)
            written_at = HybridClock.milliseconds(newest) * MILLISECOND
            self.lag[merged.author] = max(0, turn.wall - written_at)

    def _refuse(self, reason: str) -> None:
        """Count it. A liar may give many reasons; after so many they are one."""
        is_known = reason in self.refused or len(self.refused) < REASONS_MAX
        self.refused[reason if is_known else "another reason"] += 1

    def _found_fork(self, turn: Turn, author: NodeId) -> None:
        proof = self.store.proofs[author]
        self._refuse("two histories")
        turn.persist(KeepProof(author, proof))
        turn.report(AuthorForked(author))
        self._proofs.append(proof)

    def _take_proof(self, turn: Turn, sender: NodeId, proof: Forked) -> None:
        """Believe nobody but the two signatures."""
        try:
            author = self.store.prove(proof.one, proof.other)
        except RemoteProtocolError as fault:
            self._refuse(str(fault))
            turn.report(BatchRefused(sender, sender, str(fault)))
            return
        if author is not None:
            self._found_fork(turn, author)
