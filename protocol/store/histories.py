"""What is held of each author: batches in the order of their sequences, and how far they reach.

Invariant: everything up to `last` has been here. What is not any more was collected: every one of
its entries had been replaced, and every member had it and what replaced it. Who comes later and
never sees it shows no other values for that than the members.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from protocol.identity import NodeId
from protocol.messages.sharing import Collected
from protocol.store.batches import NO_LINK, Opened


@dataclass(slots=True)
class Kept:
    """A batch that is held; `live` counts its entries that are not replaced, `values` those of them
    that do not delete, and `replacers` is up to where one must have their authors to know what
    replaced the others."""

    first: int
    last: int
    previous: bytes
    link: bytes
    encoded: bytes
    live: int
    values: int
    replacers: dict[NodeId, int] | None = None

    def replaced(self, deletes: bool, by: Iterable[tuple[NodeId, int]]) -> None:
        """One of its entries counts no more, because of these."""
        self.live -= 1
        self.values -= not deletes
        self.replacers = self.replacers or {}
        for author, sequence in by:
            self.replacers[author] = max(sequence, self.replacers.get(author, 0))

    def is_replaced_for(self, stable: Mapping[str, int]) -> bool:
        """Whether whoever has all authors up to here knows what replaced its entries."""
        needed = (self.replacers or {}).items()
        return all(stable.get(author, 0) >= sequence for author, sequence in needed)


@dataclass(slots=True)
class History:
    """One author's; `kept` in order. `link` is the chain's value after `last`. `worn` are those of
    `kept`, by their first sequence, in which no value is left."""

    author: NodeId
    last: int = 0
    link: bytes = NO_LINK
    firsts: list[int] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    worn: dict[int, Kept] = field(default_factory=dict)
    entries: int = 0  # in `kept`
    size: int = 0  # bytes of `kept`

    def add(self, opened: Opened, encoded: bytes) -> Kept:
        """Hold the next batch."""
        count = len(opened.entries)
        values = sum(not entry.deletes for entry in opened.entries)
        at = opened.batch
        batch = Kept(at.first, opened.last, at.previous, opened.link, encoded, count, values)
        self._look(batch)
        self.firsts.append(batch.first)
        self.kept.append(batch)
        self.last, self.link = batch.last, batch.link
        self.entries += count
        self.size += len(encoded)
        return batch

    def replaced(self, sequence: int, deletes: bool, by: Iterable[tuple[NodeId, int]]) -> None:
        """This entry, which deletes or does not, counts no more, because of these."""
        batch = self.batch_with(sequence)
        if batch is not None:
            batch.replaced(deletes, by)
            self._look(batch)

    def worn_out(self) -> list[Kept]:
        """The batches in which no value is left, in order."""
        return [batch for _, batch in sorted(self.worn.items())]

    def _look(self, batch: Kept) -> None:
        if not batch.values:
            self.worn[batch.first] = batch

    def skip(self, last: int, link: bytes) -> None:
        """What follows up to `last` has been collected everywhere."""
        self.last, self.link = last, link

    def drop(self, batch: Kept) -> None:
        """Hold a batch no more."""
        at = bisect_left(self.firsts, batch.first)
        assert self.kept[at] is batch
        del self.firsts[at], self.kept[at]
        self.worn.pop(batch.first, None)
        self.entries -= batch.last - batch.first + 1
        self.size -= len(batch.encoded)

    def batch_with(self, sequence: int) -> Kept | None:
        """The one in which this entry is, if it is held."""
        at = bisect_right(self.firsts, sequence) - 1
        if at >= 0 and self.kept[at].first <= sequence <= self.kept[at].last:
            return self.kept[at]
        return None

    def after(self, have: int) -> Iterator[Kept | Collected]:
        """What somebody who has all up to `have` lacks, in order."""
        reached = have
        for batch in self.kept[bisect_right(self.firsts, have) :]:
            if batch.first > reached + 1:
                yield Collected(self.author, reached + 1, batch.first - 1, batch.previous)
            yield batch
            reached = batch.last
        if reached < self.last:
            yield Collected(self.author, reached + 1, self.last, self.link)

    def size_after(self, have: int) -> int:
        """Bytes of it."""
        return sum(len(each.encoded) for each in self.kept[bisect_right(self.firsts, have) :])
