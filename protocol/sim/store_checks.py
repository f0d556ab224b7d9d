"""Checkers of the replicated store: an author's entries are seen without a gap, but for those that
were collected, and are the same everywhere, so that nobody else has written them and nobody has
written them twice; only what counts for nothing is collected; a value that somebody has overwritten
knowingly never shows again, nor beside the one that replaced it (causal order, key by key); stores
with equal digests show equal values, and in the end none that anybody has replaced or deleted;
each write of a client that is answered is an entry on disk; and of no author is more held than its
quota.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from protocol import codec
from protocol.announcing import PREFIX as EVENTS
from protocol.clocks import VersionVector
from protocol.effects import DropBatches, KeepBatch, KeepCollected, KeepLateness, Record, Reply
from protocol.facts import Fact
from protocol.facts.sharing import BatchCollected, BatchMerged, EventReceived, HistorySkipped
from protocol.identity import NodeId
from protocol.sim.host import Host
from protocol.sim.watch import InvariantBroken
from protocol.store import Batch, Body
from protocol.store.batches import Entry, open_batch

_NOTHING = VersionVector()


class StoreChecks:
    """See the module's text."""

    def __init__(self) -> None:
        self._entries: dict[tuple[NodeId, int], Entry] = {}  # by author and sequence
        self._pasts: dict[tuple[int, str], VersionVector] = {}  # node, key: what was overwritten
        self._said: dict[tuple[NodeId, int], bytes] = {}  # author, first sequence: the batch
        self._last: dict[tuple[int, NodeId], int] = {}  # node, author: the sequence seen
        self._replaced: dict[str, VersionVector] = {}  # what somebody has overwritten, by key
        self._events: dict[tuple[int, NodeId], int] = {}  # node, origin: the last event's number
        self._had: dict[tuple[NodeId, NodeId], int] = {}  # node, author: up to which sequence
        self._ends: dict[tuple[NodeId, int], int] = {}  # of each batch, by author and first
        self._wishes: dict[tuple[NodeId, int], str] = {}  # node, request: the key to be written
        self._made: Counter[tuple[NodeId, str]] = Counter()  # author, key: entries it has kept
        self._answered: Counter[tuple[NodeId, str]] = Counter()  # node, key: wishes answered

    def by_fact(self) -> dict[type[Fact], Callable[[Host, Any], None]]:
        """Who wants to see which facts."""
        return {
            BatchMerged: self._see_batch,
            BatchCollected: self._see_collected,
            HistorySkipped: self._see_skipped,
            EventReceived: self._see_event,
        }

    def see_started(self, host: Host) -> None:
        """It goes on from what its disk kept, and may see again what it had seen before."""
        for author_at in [place for place in self._last if place[0] == host.number]:
            del self._last[author_at]
        for event_at in [place for place in self._events if place[0] == host.number]:
            del self._events[event_at]
        for key_at in [place for place in self._pasts if place[0] == host.number]:
            del self._pasts[key_at]

    def see_kept(self, host: Host, records: Sequence[Record]) -> None:
        """Read from each batch what its entries replace, as soon as a node writes it: before it is
        shown the author may have crashed, and others may have done without it. If the author did
        before it was written, the next one may be of the same number."""
        for record in records:
            if isinstance(record, KeepBatch):
                is_known = (record.author, record.first) in self._ends
                if not is_known or record.author == host.identity.node:
                    self._learn(record)
                self._see_had(host, record.author, record.last)
                if record.author == host.identity.node:
                    for entry in open_batch(record.encoded).entries:
                        self._made[record.author, _kind_of(entry.key)] += 1
            elif isinstance(record, KeepCollected):
                gap = record.collected
                self._see_had(host, gap.author, gap.last)
            elif isinstance(record, DropBatches) and KeepLateness(False) not in records:
                self._check_had(host, record)

    def see_wish(self, host: Host, request: int, key: str) -> None:
        """A client asks this node to write the key."""
        self._wishes[host.identity.node, request] = _kind_of(key)

    def see_reply(self, host: Host, reply: Reply) -> None:
        """What is answered is on disk, each by an entry of its own: what a client adds to a sum may
        not be lost in what another adds."""
        node = host.identity.node
        key = self._wishes.pop((node, reply.request), None)
        if key is None or reply.error:
            return
        self._answered[node, key] += 1
        if self._answered[node, key] > self._made[node, key]:
            raise InvariantBroken(
                "answered_is_kept",
                f"n{host.number} has answered {self._answered[node, key]} writes of {key}, and "
                f"has kept {self._made[node, key]}",
            )

    def _see_had(self, host: Host, author: NodeId, last: int) -> None:
        """What a damaged disk has lost since, it had: for what is dropped meanwhile it is late."""
        place = (host.identity.node, author)
        self._had[place] = max(self._had.get(place, 0), last)

    def _check_had(self, host: Host, dropped: DropBatches) -> None:
        """Whoever may still ask has had what is dropped, unless it came late and was dropped on
        another's word."""
        assert host.peer is not None
        if host.peer.gossip.returning.is_late:
            return
        for author, first in dropped.batches:
            last = self._ends[author, first]
            for node in host.peer.membership.alive():
                if self._had.get((node, author), 0) < last:
                    raise InvariantBroken(
                        "collected_had", f"n{host.number} drops {author}:{last}, which {node} lacks"
                    )

    def _learn(self, record: KeepBatch) -> None:
        batch = codec.unpack_value(Batch, record.encoded)
        entries = codec.unpack_value(Body, batch.body).entries
        for sequence, entry in enumerate(entries, start=batch.first):
            self._entries[record.author, sequence] = entry
            replaced = self._replaced.get(entry.key, _NOTHING)
            self._replaced[entry.key] = replaced.merge(VersionVector(entry.context))
        self._ends[record.author, record.first] = record.last

    def _see_batch(self, host: Host, fact: BatchMerged) -> None:
        assert host.peer is not None
        place = (host.number, fact.author)
        last = self._last.get(place)
        if last is not None and fact.first != last + 1:
            raise InvariantBroken("gap_free", f"n{host.number} had {last} of {fact.author}: {fact}")
        self._last[place] = fact.last
        self._check_words(host, fact)
        self._check_quota(host, fact)
        for key in fact.keys:
            self._check_order(host, key)

    def _check_words(self, host: Host, fact: BatchMerged) -> None:
        assert host.peer is not None
        store = host.peer.store
        batches = store.missing({**store.vector(), fact.author: fact.first - 1}, 1).batches
        for encoded in batches[:1]:
            first = open_batch(encoded).batch.first
            if self._said.setdefault((fact.author, first), encoded) != encoded:
                raise InvariantBroken(
                    "said_once", f"n{host.number} has another batch than was seen before: {fact}"
                )

    def _check_quota(self, host: Host, fact: BatchMerged) -> None:
        """Nobody has more of an author on its disk than it may: what is dropped for the sake of
        something new is dropped there before."""
        assert host.peer is not None
        quota = host.peer.config.gossip.entries_per_author_max
        if fact.last <= quota:
            return
        held = sum(
            self._ends[fact.author, first] + 1 - first
            for first, batch in host.disk.batches.get(fact.author, {}).items()
            if isinstance(batch, bytes)
        )
        if held > quota:
            raise InvariantBroken(
                "within_quota", f"n{host.number} holds {held} entries of {fact.author}, not {quota}"
            )

    def _see_skipped(self, host: Host, fact: HistorySkipped) -> None:
        place = (host.number, fact.author)
        last = self._last.get(place, fact.first - 1)
        if fact.first != last + 1:
            raise InvariantBroken("gap_free", f"n{host.number} had {last} of {fact.author}: {fact}")
        for sequence in range(fact.first, fact.last + 1):
            self._check_spent(host, fact.author, sequence)
        self._last[place] = fact.last

    def _see_collected(self, host: Host, fact: BatchCollected) -> None:
        last = self._ends.get((fact.author, fact.first), 0)
        for sequence in range(fact.first, last + 1):
            self._check_spent(host, fact.author, sequence)

    def _see_event(self, host: Host, fact: EventReceived) -> None:
        place = (host.number, fact.origin)
        if fact.number <= self._events.get(place, 0):
            raise InvariantBroken(
                "event_once", f"n{host.number} had {self._events[place]} of {fact.origin}: {fact}"
            )
        self._events[place] = fact.number

    def _check_spent(self, host: Host, author: NodeId, sequence: int) -> None:
        """Its author, or somebody who had seen it, has replaced it; or it deletes."""
        entry = self._entries.get((author, sequence))
        if entry is None or entry.deletes:
            return
        if not self._replaced.get(entry.key, _NOTHING).sees(author, sequence):
            raise InvariantBroken(
                "collected_is_spent",
                f"n{host.number} does without {entry.key} by {author}:{sequence}",
            )

    def _check_order(self, host: Host, key: str) -> None:
        assert host.peer is not None
        place = (host.number, key)
        versions = host.peer.store.read(key)
        past = self._pasts.get(place, _NOTHING)
        for version in versions:
            entry = self._entries.get((version.author, version.sequence))
            past = past if entry is None else past.merge(VersionVector(entry.context))
        self._pasts[place] = past
        for version in versions:
            if past.sees(version.author, version.sequence):
                raise InvariantBroken(
                    "causal_order",
                    f"n{host.number} shows {key} by {version.author}:{version.sequence}, "
                    f"which was overwritten",
                )

    def check_stores(self, hosts: Sequence[Host]) -> None:
        """Strong eventual consistency (Shapiro et al. 2011): who has received the same entries is
        in the same state, in whatever order they came; but who is late has not heard yet what was
        deleted."""
        seen: dict[bytes, Host] = {}
        for host in hosts:
            if host.peer is None or host.peer.gossip.returning.is_late:
                continue
            store = host.peer.store
            other = seen.setdefault(store.fingerprint(), host)
            assert other.peer is not None
            for key in sorted({*store.scan(), *other.peer.store.scan()}):
                if store.read(key) != other.peer.store.read(key):
                    raise InvariantBroken(
                        "equal_values", f"n{host.number} and n{other.number} differ on {key}"
                    )
            if other is host:
                self._check_replaced(host)

    def _check_replaced(self, host: Host) -> None:
        """Nothing shows that any entry which this node has had replaces or deletes, be it collected
        long since."""
        assert host.peer is not None
        store = host.peer.store
        vector = store.vector()
        replaced: dict[str, VersionVector] = {}
        for (author, sequence), entry in self._entries.items():
            if sequence <= vector.get(author, 0):
                past = replaced.get(entry.key, _NOTHING)
                replaced[entry.key] = past.merge(VersionVector(entry.context))
        for key in store.scan():
            for version in store.read(key):
                if replaced.get(key, _NOTHING).sees(version.author, version.sequence):
                    raise InvariantBroken(
                        "no_resurrection",
                        f"n{host.number} shows {key} by {version.author}:{version.sequence}, "
                        f"which was replaced",
                    )


def _kind_of(key: str) -> str:
    """Events are counted together: the key of one follows from its number."""
    return EVENTS if key.startswith(EVENTS) else key
