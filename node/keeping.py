"""Records become rows.

    keeper = Keeper(connection, node, voting, extent, own)
    keeper.keep(records)        # inside a transaction, any number of times
    keeper.seal()               # last, in the same transaction

Invariant: after `seal` the rows are what a `Survey` finds sound: every chain of checksums ends
where another row says that it does. The keeper knows these ends, so it reads nothing while a log
only grows. After an error it knows nothing any more, and must not be used again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import replace

from node.journal_file import (
    ONLY_KEY,
    PIECE_SIZE,
    Extent,
    Own,
    Place,
    SnapshotHead,
    Voting,
    batch_checksum,
    entry_checksum,
    piece_checksum,
    place_checksum,
    row_checksum,
)
from protocol.codec import pack_value
from protocol.effects import (
    AppendEntries,
    DropBatches,
    DropBlob,
    DropLog,
    ForgetMember,
    HardState,
    KeepBatch,
    KeepCollected,
    KeepImpairment,
    KeepLateness,
    KeepManifest,
    KeepMember,
    KeepPart,
    KeepProof,
    KeepSnapshot,
    Record,
    Snapshot,
)
from protocol.identity import NodeId
from protocol.messages.agreement import LogEntry
from protocol.messages.sharing import Collected
from protocol.store.batches import open_batch

_REPLACE_EXTENT = "REPLACE INTO extent VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


class Keeper:
    """See the module's text. `extent.number` is that of the last sealed transaction."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        node: NodeId,
        voting: Voting,
        extent: Extent,
        own: Own,
    ) -> None:
        self.extent = extent
        self._connection = connection
        self._node = node
        self._voting = self._voting_kept = voting
        self._own = self._own_kept = own
        # Entries that wait for `executemany`, and where the log ends with them.
        self._rows: list[tuple[int, int, int, bytes, int]] = []
        self._last = extent.last
        self._end = extent.end

    def keep(self, records: Iterable[Record]) -> None:
        """Write these rows; the same record again, or a newer one, takes the place of the older."""
        for record in records:
            match record:
                case AppendEntries():
                    self._append(record.entries)
                case HardState():
                    self._voting = replace(self._voting, term=record.term, vote=record.vote)
                case KeepBatch():
                    self._keep_batch(record)
                case KeepCollected():
                    self._keep_place(record.collected)
                case KeepLateness():
                    self.put("meta", "late", pack_value(str(int(record.late))))
                case KeepProof():
                    self.put("proofs", record.author, pack_value(record.proof))
                case DropBatches():
                    for author, first in record.batches:
                        self._drop_batch(author, first)
                case KeepMember():
                    node = record.record.node
                    self.put("members", node, pack_value(record.record))
                case ForgetMember():
                    self._connection.execute("DELETE FROM members WHERE key = ?", (record.node,))
                case KeepManifest() | KeepPart() | DropBlob():
                    pass  # they are files of their own: see `blob_files`
                case KeepSnapshot():
                    self._keep_snapshot(record)
                case DropLog():
                    self._drop_log()
                case KeepImpairment():
                    self._voting = replace(self._voting, impaired=record.impaired)

    def seal(self) -> None:
        """Write where everything ends now."""
        self._write_rows()
        if self._voting != self._voting_kept:
            self._voting = replace(self._voting, number=self._voting.number + 1)
            self._write_voting()
        if self._own != self._own_kept:
            self._own_kept = self._own
            self.put("meta", "own", pack_value(self._own))
        self.extent.number += 1
        self._connection.execute(_REPLACE_EXTENT, self.extent.row())

    def create(self) -> None:
        """Write the rows that are always there."""
        self._write_voting()

    def put(self, table: str, key: str | int, value: bytes) -> None:
        """Write a row that stands alone, in place of the one before."""
        self._connection.execute(
            f"REPLACE INTO {table} VALUES (?, ?, ?)", (key, value, row_checksum(table, key, value))
        )

    def _write_voting(self) -> None:
        self._voting_kept = self._voting
        for table in ("voting", "voting_copy"):
            self.put(table, ONLY_KEY, pack_value(self._voting))

    # -- the log -----------------------------------------------------------------------------------

    def _append(self, entries: tuple[LogEntry, ...]) -> None:
        if not entries:
            return
        first = entries[0].index
        if first <= self._last:
            self._cut_off(first)
        if self.extent.first > self._last:  # no entries: this may be where they begin
            assert 0 < first <= self.extent.snapshot_index + 1, "a gap above the snapshot"
            self._set_extent(first=first, before=0, last=first - 1, end=0)
        index, end = self._last, self._end
        for entry in entries:
            index += 1
            assert entry.index == index, "a gap in the log"
            kind = entry.kind.value
            end = entry_checksum(end, index, entry.term, kind, entry.data)
            self._rows.append((index, entry.term, kind, entry.data, end))
        self._last, self._end = index, end

    def _write_rows(self) -> None:
        """Bring the table up to what was appended."""
        if self._rows:
            self._connection.executemany("INSERT INTO log VALUES (?, ?, ?, ?, ?)", self._rows)
            self._rows.clear()
        self.extent.last = self._last
        self.extent.end = self._end

    def _set_extent(self, first: int, before: int, last: int, end: int) -> None:
        assert not self._rows
        extent = self.extent
        extent.first, extent.before, extent.last, extent.end = first, before, last, end
        self._last, self._end = last, end

    def _cut_off(self, first: int) -> None:
        """Delete the entries from `first` on."""
        self._write_rows()
        extent = self.extent
        end = self._checksum_at(first - 1) if first > extent.first else 0
        self._connection.execute("DELETE FROM log WHERE key >= ?", (first,))
        if first > extent.first:
            self._set_extent(extent.first, extent.before, first - 1, end)
        else:
            self._set_extent(first, 0, first - 1, 0)

    def _checksum_at(self, index: int) -> int:
        """The checksum of the entry, or of the one before the first."""
        extent = self.extent
        assert extent.first - 1 <= index <= extent.last
        if index == extent.first - 1:
            return extent.before
        query = "SELECT checksum FROM log WHERE key = ?"
        (checksum,) = self._connection.execute(query, (index,)).fetchone()
        return int(checksum)

    def _drop_log(self) -> None:
        self._write_rows()
        self._connection.execute("DELETE FROM log")
        self._connection.execute("DELETE FROM snapshot")
        self.extent.snapshot_index = self.extent.snapshot = 0
        self._set_extent(1, 0, 0, 0)

    # -- the snapshot ------------------------------------------------------------------------------

    def _keep_snapshot(self, record: KeepSnapshot) -> None:
        self._write_rows()
        index = record.snapshot.index
        extent = self.extent
        if record.replace:
            self._connection.execute("DELETE FROM log")
            self._set_extent(index + 1, 0, index, 0)
        else:
            assert record.keep_from <= index + 1, "a gap above the snapshot"
            assert index <= extent.last, "a snapshot beyond the log"
            if record.keep_from > extent.first:
                before = self._checksum_at(record.keep_from - 1)
                self._connection.execute("DELETE FROM log WHERE key < ?", (record.keep_from,))
                self._set_extent(record.keep_from, before, extent.last, extent.end)
        self._connection.execute("DELETE FROM snapshot")
        self._connection.executemany(
            "INSERT INTO snapshot VALUES (?, ?, ?)", self._pieces(record.snapshot)
        )

    def _pieces(self, snapshot: Snapshot) -> Iterator[tuple[int, bytes | memoryview, int]]:
        """The rows of a snapshot, one at a time: a state may be most of the memory there is."""
        head = SnapshotHead(
            snapshot.index,
            snapshot.term,
            snapshot.configuration,
            snapshot.configuration_index,
            snapshot.chain,
            snapshot.origin,
            len(snapshot.state),
        )
        packed = pack_value(head)
        checksum = piece_checksum(0, 0, packed)
        yield 0, packed, checksum
        state = memoryview(snapshot.state)
        for key, offset in enumerate(range(0, len(state), PIECE_SIZE), 1):
            piece = state[offset : offset + PIECE_SIZE]
            checksum = piece_checksum(checksum, key, piece)
            yield key, piece, checksum
        self.extent.snapshot_index, self.extent.snapshot = snapshot.index, checksum

    # -- batches -----------------------------------------------------------------------------------

    def _keep_batch(self, batch: KeepBatch) -> None:
        own = batch.author == self._node
        assert not own or batch.first == self._own.last + 1, "a gap in this node's own batches"
        checksum = batch_checksum(
            self._own.end if own else 0, batch.author, batch.first, batch.last, batch.encoded
        )
        self._insert(batch.author, batch.first, batch.last, batch.encoded, checksum)
        if own:
            self._own = Own(batch.last, checksum)

    def _keep_place(self, gap: Collected) -> None:
        """What was collected before it came here. Its row ends a chain as a batch's would."""
        end = place_checksum(gap.author, gap.first, gap.last, gap.link)
        value = Place(gap.link, end).packed()
        self._insert(
            gap.author, gap.first, gap.last, value,
            place_checksum(gap.author, gap.first, gap.last, value),
        )  # fmt: skip
        if gap.author == self._node:
            self._own = Own(gap.last, end)

    def _insert(self, author: str, first: int, last: int, value: bytes, checksum: int) -> None:
        self._connection.execute(
            "INSERT INTO batches(author, first, last, value, checksum) VALUES (?, ?, ?, ?, ?)",
            (author, first, last, value, checksum),
        )

    def _drop_batch(self, author: NodeId, first: int) -> None:
        """Put a place where the batch was, and make one of it and the places beside it."""
        key, last, value, checksum = self._connection.execute(
            "SELECT key, last, value, checksum FROM batches WHERE author = ? AND first = ?",
            (author, first),
        ).fetchone()
        place = Place(open_batch(value).link, checksum)
        before = self._connection.execute(
            "SELECT key, first, value FROM batches WHERE author = ? AND first < ?"
            " ORDER BY first DESC LIMIT 1",
            (author, first),
        ).fetchone()
        if before is not None and Place.of(before[2]) is not None:
            self._connection.execute("DELETE FROM batches WHERE key = ?", (before[0],))
            first = before[1]
        after = self._connection.execute(
            "SELECT key, last, value FROM batches WHERE author = ? AND first = ?",
            (author, last + 1),
        ).fetchone()
        following = Place.of(after[2]) if after is not None else None
        if following is not None:
            self._connection.execute("DELETE FROM batches WHERE key = ?", (key,))
            key, last, _ = after
            place = following
        value = place.packed()
        self._connection.execute(
            "UPDATE batches SET first = ?, value = ?, checksum = ? WHERE key = ?",
            (first, value, place_checksum(author, first, last, value), key),
        )
