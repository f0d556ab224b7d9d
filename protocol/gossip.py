"""Spreading the store: what is new goes on at once, what was missed is repaired by digest.

    write, or first sight of a batch   Push to f random members, f = clamp(ceil(ln N) + 1, 2, 6)
    every tick                         Summary (a fingerprint) to one random member; ticks are
                                       rarer while nothing is written
    Summary differs, or a gap          Digest (what I hold)
    Digest                             Delta (what you lack), and a Digest back if asked

Push reaches all but a few members in O(log N) steps; the digest exchange makes it certain
(Demers et al. 1987, rumor mongering backed by anti-entropy). An own batch is durable before it
is sent, here and in a Delta: a promise that its sequence is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log
from random import Random

from protocol.clocks import HybridClock, Nanoseconds
from protocol.config import GossipConfig
from protocol.effects import KeepBatch
from protocol.errors import RemoteProtocolError
from protocol.facts import BatchMerged, BatchRefused, RequestRefused, SiblingsFound
from protocol.identity import NodeId
from protocol.messages import Delta, Digest, Push, Summary
from protocol.store import ENTRIES_PER_BATCH_MAX, Gap, QuotaReached, Store
from protocol.turn import Turn


class Gossip:
    """Owns the store's traffic. `members` are the others that are believed alive."""

    def __init__(
        self, store: Store, config: GossipConfig, random: Random, now: Nanoseconds
    ) -> None:
        self.store = store
        self.config = config
        self.random = random
        self.clock = HybridClock()
        self._tick_at = now + random.randrange(config.tick_ns)
        self._quiet_ticks = 0
        self._own: list[bytes] = []  # written in this step
        self._fresh: list[tuple[NodeId, bytes]] = []  # (sender, batch) first seen in this step

    def deadline(self) -> Nanoseconds:
        return self._tick_at

    @property
    def has_news(self) -> bool:
        """Whether this step brought anything for `flush` to pass on."""
        return bool(self._own or self._fresh)

    def write(self, turn: Turn, writes: Sequence[tuple[str, bytes]]) -> None:
        """Write values as this node; they go out when they are durable. Beyond the quota they are
        refused, and nobody hears of them: a lost claim or partial result costs time, no more."""
        for at in range(0, len(writes), ENTRIES_PER_BATCH_MAX):
            some = writes[at : at + ENTRIES_PER_BATCH_MAX]
            try:
                encoded, merged = self.store.write(some, self.clock.stamp(turn.wall))
            except QuotaReached:
                quota = self.store.entries_per_author_max
                turn.report(RequestRefused(f"{len(writes) - at} writes beyond {quota} entries"))
                return
            turn.persist(KeepBatch(merged.author, merged.first, merged.last, encoded))
            turn.report(BatchMerged(merged.author, merged.first, merged.last, merged.keys))
            self._own.append(encoded)

    def receive(self, turn: Turn, sender: NodeId, message: Push | Summary | Digest | Delta) -> None:
        """Take a message from another node."""
        match message:
            case Push():
                if not self._merge(turn, sender, message.batches):
                    turn.send(sender, Digest(self.store.vector(), wants_answer=False))
            case Delta():
                held = self.store.fingerprint()
                self._merge(turn, sender, message.batches)
                if message.more and self.store.fingerprint() != held:  # else it would never end
                    turn.send(sender, Digest(self.store.vector(), wants_answer=False))
            case Summary():
                if message.fingerprint != self.store.fingerprint():
                    self._wake_up(turn.now)
                    turn.send(sender, Digest(self.store.vector(), wants_answer=True))
            case Digest():
                batches, more = self.store.missing(message.vector, self.config.delta_size_max)
                if batches:
                    turn.send_durable(sender, Delta(tuple(batches), more))
                if message.wants_answer and self.store.lacks(message.vector):
                    turn.send(sender, Digest(self.store.vector(), wants_answer=False))

    def summary_due(self, turn: Turn, members: Sequence[NodeId]) -> NodeId | None:
        """The random member to compare with, when it is time to."""
        if turn.now < self._tick_at:
            return None
        quiet = self._quiet_ticks >= self.config.quiet_after
        self._quiet_ticks += 1
        self._tick_at = turn.now + (self.config.quiet_tick_ns if quiet else self.config.tick_ns)
        return members[self.random.randrange(len(members))] if members else None

    def flush(self, turn: Turn, members: Sequence[NodeId]) -> None:
        """At the end of a step: pass on what it brought, as one message to each chosen member."""
        if self._own or self._fresh:
            self._wake_up(turn.now)
        if self._own:
            batches = tuple(self._own)
            self._own.clear()
            for member in self._choose(members):
                turn.send_durable(member, Push(batches))
        if self._fresh:
            fresh, self._fresh = self._fresh, []
            for member in self._choose(members):
                batches = tuple(batch for sender, batch in fresh if sender != member)
                if batches:
                    turn.send(member, Push(batches))

    def _wake_up(self, now: Nanoseconds) -> None:
        """There is something to compare again."""
        self._quiet_ticks = 0
        self._tick_at = min(self._tick_at, now + self.config.tick_ns)

    def _choose(self, members: Sequence[NodeId]) -> Sequence[NodeId]:
        fanout = min(max(ceil(log(len(members) + 1)) + 1, 2), self.config.fanout_max)
        return members if len(members) <= fanout else self.random.sample(members, fanout)

    def _merge(self, turn: Turn, sender: NodeId, batches: Sequence[bytes]) -> bool:
        """Merge what can be merged; False if something did not connect to what is held."""
        connected = True
        for encoded in batches:
            try:
                merged = self.store.merge(encoded)
            except Gap:
                connected = False
                continue
            except RemoteProtocolError as fault:
                turn.report(BatchRefused(sender, sender, str(fault)))
                continue
            if merged is None:
                continue
            turn.persist(KeepBatch(merged.author, merged.first, merged.last, encoded))
            turn.report(BatchMerged(merged.author, merged.first, merged.last, merged.keys))
            self._fresh.append((sender, encoded))
            for key in merged.keys:
                versions = self.store.read(key)
                if versions:
                    self.clock.observe(max(version.stamp for version in versions), turn.wall)
                if len(versions) > 1:
                    authors = tuple(version.author for version in versions)
                    turn.report(SiblingsFound(key, authors))
        return connected
