"""The replicated store: each author writes a gap-free sequence of signed entries; a key keeps every
value that no later writer has seen.

Invariants: for each author everything up to its `last` has been here, and `last` only grows; a
value disappears from a key only when an entry arrives whose writer had seen it. Merging is
commutative, associative and idempotent, so any two stores with equal digests hold equal values.

Batches are collected once every member has them and all their entries are replaced; a deletion when
nothing is held of what it deletes. So whoever was away, and gets what is left, finds for each entry
that was replaced the one that replaces it, with one exception: what was deleted without a trace.
Hence `reconcile`, by which a late returner drops what counts nowhere any more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Mapping, Sequence

from protocol.clocks import VersionVector
from protocol.errors import RemoteProtocolError
from protocol.identity import Identity, NodeId
from protocol.messages.sharing import Collected, Forked, Holding
from protocol.store.batches import (
    AUTHOR_SIZE,
    BATCH_FILL,
    ENTRIES_PER_BATCH_MAX,
    KEY_LENGTH_MAX,
    VALUE_SIZE_MAX,
    Entry,
    Opened,
    open_batch,
    sign_batch,
)
from protocol.store.families import Families, Join, Joined, joined
from protocol.store.histories import History, Kept
from protocol.store.keys import Keys, Version
from protocol.store.outcomes import Equivocation, Gap, Lacking, Merged, QuotaReached
from protocol.store.sums import FINGERPRINT_SIZE, Sums, part_of

KEPT_FREE = 1 / 16  # of an author's quota
COLLECTED_MAX = 2_000  # batches at a time: a member that comes back may have held up many
HOLDINGS_PAGE = 500_000  # batches that one message tells of: about 2 MB


class Store:
    """See the module's text. Of each author so many entries and bytes are held at most."""

    def __init__(
        self,
        identity: Identity,
        cluster: str,
        entries_per_author_max: int,
        size_per_author_max: int = 2**62,
        families: Families | None = None,
    ) -> None:
        self.identity = identity
        self.cluster = cluster
        self.entries_per_author_max = entries_per_author_max
        self.size_per_author_max = size_per_author_max
        self.families = families or Families()
        self._histories: dict[NodeId, History] = {}
        self._keys = Keys()
        self.proofs: dict[NodeId, Forked] = {}  # who has signed two histories, and which
        self._sums = Sums()

    def __repr__(self) -> str:
        entries = sum(history.entries for history in self._histories.values())
        authors = len(self._histories)
        return f"<Store {len(self._keys)} keys, {entries} entries of {authors} authors>"

    # -- reading ------------------------------------------------------------------------------

    def read(self, key: str) -> tuple[Version, ...]:
        """The values of `key` that nobody has overwritten knowingly, by author; () if none."""
        return tuple(version for version in self._keys.versions(key) if not version.deletes)

    def joined(self, key: str) -> Joined:
        """The values of `key` as one, in the way of its family."""
        versions = sorted(self.read(key), key=lambda each: (each.stamp, each.author))
        return joined(self.families.join_of(key), [version.value for version in versions])

    def entries_of(self, author: NodeId, first: int) -> tuple[Entry, ...]:
        """What the batch of `author` that begins with this sequence wrote; () if it is not held."""
        history = self._histories.get(author)
        batch = history.batch_with(first) if history else None
        return open_batch(batch.encoded).entries if batch else ()

    def scan(self, prefix: str = "") -> list[str]:
        """All keys with a value that begin with `prefix`, sorted."""
        return self._keys.scan(prefix)

    def vector(self, parts: Container[int] | None = None) -> dict[str, int]:
        """The digest: author -> highest sequence up to which everything has been here; of the
        authors in some parts only, if they are given."""
        return {
            author: history.last
            for author, history in self._histories.items()
            if author not in self.proofs and (parts is None or part_of(author) in parts)
        }

    def author_count(self) -> int:
        """How many there are."""
        return len(self._histories)

    def sums(self) -> tuple[bytes, ...]:
        """Hash-first: 8 bytes for each part of the authors."""
        return self._sums.by_part()

    def differing(self, sums: tuple[bytes, ...]) -> frozenset[int]:
        """The parts of the authors of which another store has had something else."""
        return self._sums.differing(sums)

    def fingerprint(self) -> bytes:
        """16 bytes that are equal when two stores have had the same entries, kept up to date batch
        by batch."""
        return self._sums.fingerprint()

    def last_of(self, author: NodeId) -> int:
        """The highest sequence held of `author`; 0 if none."""
        history = self._histories.get(author)
        return history.last if history else 0

    def has_room_for(self, size: int) -> bool:
        """Whether this node may write another value, of so many bytes. Some room is kept for what
        deletes, else who is at the end of its quota could do nothing about it."""
        own = self._histories.get(self.identity.node) or History(self.identity.node)
        share = 1 - KEPT_FREE
        has_entries = own.entries < self.entries_per_author_max * share
        return has_entries and own.size + size < self.size_per_author_max * share

    def fits_into_batch(self, writes: Sequence[tuple[str, bytes | None]]) -> int:
        """How many of these, from the first on, go into one batch: one at least."""
        size = 0
        for count, (key, value) in enumerate(writes[:ENTRIES_PER_BATCH_MAX]):
            size += len(key) + len(value or b"") + AUTHOR_SIZE * len(self._keys.seen(key))
            if size > BATCH_FILL and count:
                return count
        return min(len(writes), ENTRIES_PER_BATCH_MAX)

    def size(self) -> int:
        """Bytes of the batches that are held."""
        return sum(history.size for history in self._histories.values())

    def forked(self) -> frozenset[NodeId]:
        """Authors that have signed two histories: nothing more of them is taken or passed on."""
        return frozenset(self.proofs)

    @staticmethod
    def author_of(encoded: bytes) -> NodeId:
        """Who wrote a batch; RemoteProtocolError if the bytes are none."""
        return open_batch(encoded).author

    def shows_siblings(self, key: str) -> bool:
        """Whether somebody has to decide between several values of this key."""
        return self.families.join_of(key) is Join.SIBLINGS and len(self.read(key)) > 1

    def lacks(self, vector: Mapping[str, int]) -> bool:
        """Whether a peer with this digest has something that this store has not."""
        return any(
            last > self.last_of(NodeId(author)) and author not in self.proofs
            for author, last in vector.items()
        )

    def missing(
        self, vector: Mapping[str, int], size_max: int, parts: Container[int] | None = None
    ) -> Lacking:
        """What a peer with this digest (of all authors, or of those in some parts) lacks, within
        `size_max` bytes but at least one batch.
        Authors of whom it has nothing come first, then those of whom it lacks least, so that a
        large backlog keeps nobody else's small news waiting; for each author the oldest first."""
        behind: list[tuple[bool, int, NodeId, int]] = []
        for author, history in self._histories.items():
            if parts is not None and part_of(author) not in parts:
                continue
            have = vector.get(author, 0)
            if have < history.last and author not in self.proofs:
                behind.append((have > 0, history.size_after(have), author, have))
        batches: list[bytes] = []
        collected: list[Collected] = []
        size = 0
        for _, _, author, have in sorted(behind):
            for each in self._histories[author].after(have):
                if isinstance(each, Collected):
                    collected.append(each)
                    continue
                size += len(each.encoded)
                if size > size_max and batches:
                    return Lacking(tuple(batches), tuple(collected), True)
                batches.append(each.encoded)
        return Lacking(tuple(batches), tuple(collected), False)

    # -- writing ------------------------------------------------------------------------------

    def write(self, writes: Sequence[tuple[str, bytes | None]], stamp: int) -> tuple[bytes, Merged]:
        """Write values as this node, each replacing what is now seen of its key; None deletes.
        Returns the signed batch, encoded: it must be durable before anybody else sees it, or a
        crash would let this author use a sequence twice. QuotaReached if there is no room."""
        assert 0 < len(writes) <= ENTRIES_PER_BATCH_MAX
        own = self.identity.node
        history = self._histories.get(own) or History(own)
        if history.entries + len(writes) > self.entries_per_author_max:
            raise QuotaReached
        entries = []
        first = history.last + 1
        fresh: dict[str, VersionVector] = {}
        for at, (key, value) in enumerate(writes):
            assert len(key) <= KEY_LENGTH_MAX
            assert value is None or len(value) <= VALUE_SIZE_MAX
            seen = fresh.get(key) or self._seen(key)
            entries.append(Entry(key, value or b"", dict(seen), stamp, value is None))
            fresh[key] = seen.advance(own, first + at)
        encoded = sign_batch(self.identity, self.cluster, first, history.link, tuple(entries))
        if history.size + len(encoded) > self.size_per_author_max:
            raise QuotaReached
        return encoded, self._take(open_batch(encoded), encoded)

    def merge(self, encoded: bytes) -> Merged | None:
        """Take a batch from elsewhere: what was new, or None if nothing. Gap if earlier entries
        are missing; RemoteProtocolError if the batch is malformed, forged or over a quota, and
        Equivocation if it belongs to another history of its author."""
        opened = open_batch(encoded)
        author = opened.author
        if author in self.proofs:
            return None
        history = self._histories.get(author) or History(author)
        if opened.batch.first <= history.last:
            self._compare_with_held(history, opened, encoded)
            return None
        if opened.batch.first != history.last + 1:
            raise Gap(author)
        if not opened.is_signed(self.identity, self.cluster):
            raise RemoteProtocolError("the signature is not its author's for this history")
        before = history.kept[-1] if history.kept else None
        if (
            before is not None
            and before.last == history.last
            and before.link != opened.batch.previous
        ):
            raise self._fork(author, before.encoded, encoded)
        if history.entries + len(opened.entries) > self.entries_per_author_max:
            raise RemoteProtocolError("its author is over its quota of entries")
        if history.size + len(encoded) > self.size_per_author_max:
            raise RemoteProtocolError("its author is over its quota of bytes")
        return self._take(opened, encoded)

    def restore(
        self,
        batches: Iterable[bytes],
        collected: Iterable[Collected] = (),
        proofs: Iterable[tuple[NodeId, Forked]] = (),
    ) -> None:
        """Take back what this node itself had made durable: batches, up to where others have been
        collected, and who has signed two histories."""
        for encoded in batches:
            opened = open_batch(encoded)
            history = self._histories.get(opened.author)
            if opened.batch.first > (history.last if history else 0) + 1:
                self._skip(opened.author, opened.batch.first - 1, opened.batch.previous)
            self._take(opened, encoded)
        for gap in collected:
            if gap.last > self.last_of(gap.author):
                self._skip(gap.author, gap.last, gap.link)
        for author, proof in proofs:
            self._fork(author, proof.one, proof.other)

    def skip(self, gap: Collected) -> bool:
        """What another store says was collected everywhere; whether it fits to what is held and is
        new."""
        last = self.last_of(gap.author)
        if gap.author in self.proofs or not gap.first <= last + 1 <= gap.last:
            return False
        self._skip(gap.author, gap.last, gap.link)
        return True

    # -- one author, two histories ---------------------------------------------------------------

    def prove(self, one: bytes, other: bytes) -> NodeId | None:
        """The author who signed both of these batches, which cannot be of one history, and is
        believed no more; None if they prove nothing, or nothing new."""
        first, second = open_batch(one), open_batch(other)
        if first.author != second.author or first.author in self.proofs:
            return None
        same_place = first.batch.first == second.batch.first and first.link != second.link
        follows = second.batch.first == first.last + 1 and second.batch.previous != first.link
        if not (same_place or follows):
            return None
        if not (
            first.is_signed(self.identity, self.cluster)
            and second.is_signed(self.identity, self.cluster)
        ):
            return None
        self._fork(first.author, one, other)
        return first.author

    def _compare_with_held(self, history: History, opened: Opened, encoded: bytes) -> None:
        held = history.batch_with(opened.batch.first)
        if held is None or held.link == opened.link or held.first != opened.batch.first:
            return
        if opened.is_signed(self.identity, self.cluster):
            raise self._fork(opened.author, held.encoded, encoded)

    def _fork(self, author: NodeId, one: bytes, other: bytes) -> Equivocation:
        history = self._histories.get(author)
        if history is not None:
            self._sums.change(author, _mark(history), 0)
        self.proofs[author] = Forked(one, other)
        return Equivocation(author)

    # -- collecting --------------------------------------------------------------------------------

    def collect(self, stable: Mapping[str, int]) -> list[tuple[NodeId, int]]:
        """Drop batches that every member has, up to these sequences, and of which nothing counts
        any more, so many at a time: (author, first) of each."""
        dropped: list[tuple[NodeId, int]] = []
        for author, last in stable.items():
            history = self._histories.get(NodeId(author))
            if history is None:
                continue
            for batch in history.worn_out():
                if len(dropped) == COLLECTED_MAX:
                    return dropped
                is_old = batch.last <= last and batch.last < history.last
                if is_old and self._is_spent(batch, stable):
                    self._drop(history, batch)
                    dropped.append((history.author, batch.first))
        return dropped

    def _is_spent(self, batch: Kept, stable: Mapping[str, int]) -> bool:
        """Whether no entry of it, of which none is a value, is a deletion that is still needed:
        against what it deletes and is held here, or not every member has yet."""
        if not batch.is_replaced_for(stable):
            return False  # whoever has not had that yet shows it still, and a newcomer would not
        if batch.live == 0:
            return True
        opened = open_batch(batch.encoded)
        here = {(opened.author, sequence) for sequence in range(batch.first, batch.last + 1)}
        return all(
            self._keys.is_over(entry, here, stable)
            for sequence, entry in enumerate(opened.entries, start=batch.first)
            if self._keys.counts(entry.key, opened.author, sequence)
        )

    def _drop(self, history: History, batch: Kept) -> None:
        history.drop(batch)
        for sequence, entry in enumerate(open_batch(batch.encoded).entries, start=batch.first):
            self._keys.drop(entry.key, history.author, sequence)

    def holdings(self, after: NodeId) -> tuple[tuple[Holding, ...], bool]:
        """Which batches of each author that comes after this one hold something that counts, for a
        late returner; as many as fit into a page, and whether there are more."""
        page: list[Holding] = []
        room = HOLDINGS_PAGE
        for author in sorted(self._histories.keys() - self.proofs.keys()):
            if author <= after:
                continue
            history = self._histories[author]
            firsts = tuple(batch.first for batch in history.kept if batch.live)
            if page and len(firsts) > room:
                return tuple(page), True
            room -= len(firsts) + 1
            page.append(Holding(author, history.last, firsts))
        return tuple(page), False

    def reconcile(self, holding: Holding) -> list[tuple[NodeId, int]]:
        """Drop what another store has had and of which nothing counts there: its keys were deleted
        while this node was away, and what deleted them was collected. (author, first) of each batch
        dropped."""
        history = self._histories.get(holding.author)
        if history is None:
            return []
        kept = set(holding.firsts)
        gone = [
            batch
            for batch in history.kept
            if batch.last <= holding.last and batch.first not in kept
        ]
        for batch in gone:
            self._drop(history, batch)
        return [(history.author, batch.first) for batch in gone]

    # -- taking in ---------------------------------------------------------------------------------

    def _seen(self, key: str) -> VersionVector:
        """What this node has seen of a key, as far as a write of it replaces that."""
        seen = self._keys.seen(key)
        if self.families.is_per_author(key):
            own: str = self.identity.node
            return VersionVector({own: seen[own]} if own in seen else {})
        return seen

    def _take(self, opened: Opened, encoded: bytes) -> Merged:
        author = opened.author
        history = self._histories.setdefault(author, History(author))
        assert opened.batch.first == history.last + 1, "a gap in an author's sequence"
        before = _mark(history)
        batch = history.add(opened, encoded)
        self._sums.change(author, before, _mark(history))
        for sequence, entry in enumerate(opened.entries, start=batch.first):
            self._apply(author, sequence, entry)
        keys = tuple(dict.fromkeys(entry.key for entry in opened.entries))
        return Merged(author, batch.first, batch.last, keys)

    def _skip(self, author: NodeId, last: int, link: bytes) -> None:
        history = self._histories.setdefault(author, History(author))
        before = _mark(history)
        history.skip(last, link)
        self._sums.change(author, before, _mark(history))

    def _apply(self, author: NodeId, sequence: int, entry: Entry) -> None:
        for old, replacers in self._keys.take(author, sequence, entry):
            self._histories[old.author].replaced(old.sequence, old.deletes, replacers)


def _mark(history: History) -> int:
    """An author's share of the fingerprint; a sum of hashes can be updated in place. The link tells
    two histories of one author apart."""
    if history.last == 0:
        return 0
    text = f"{history.author}:{history.last}:".encode() + history.link
    return int.from_bytes(hashlib.sha256(text).digest()[:FINGERPRINT_SIZE], "big")
