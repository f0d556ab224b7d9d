"""What of a journal's file is certainly sound.

`Survey` reads every row once and judges it. Invariant: what it returns was written by this node,
is complete as far as it goes, and in order. What is missing is named in `lost_votes` (Raft's part:
the node may have forgotten what it promised) or `lost_others` (gossip brings it again). Who has
lost batches of others is `late`: it has to hear what of these still counts.

JournalDamaged if the node cannot go on under its name: without its own batches it would use
sequences twice, without `meta` its epochs; other nodes could not tell which of two is true.
(Alagappan et al., *Protocol-Aware Recovery for Consensus-Based Storage*, 2018: a node that has lost
part of its log must know that, and take no part in elections until others have filled it.)
"""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Iterator
from typing import Any, TypeVar

from node.journal_file import (
    ONLY_KEY,
    Extent,
    JournalDamaged,
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
from protocol.codec import unpack_value
from protocol.effects import HardState, KeepBatch, KeepCollected, Restored, Snapshot
from protocol.errors import RemoteProtocolError
from protocol.identity import NodeId
from protocol.messages.agreement import EntryKind, LogEntry
from protocol.messages.membership import MemberRecord
from protocol.messages.sharing import Collected, Forked

_KINDS = {kind.value: kind for kind in EntryKind}

T = TypeVar("T")


class _Unsound(Exception):
    """A row that is not what was written."""


class Survey:
    """See the module's text. Everything is read when it is made."""

    def __init__(self, connection: sqlite3.Connection, node: NodeId) -> None:
        self.lost_votes: list[str] = []
        self.lost_others: list[str] = []
        self._connection = connection
        self.voting = self._read_voting()
        self.extent = self._read_extent()
        self.snapshot: Snapshot | None = None
        self.entries: tuple[LogEntry, ...] = ()
        if self.extent is not None and self.voting is not None:
            self._read_log_and_snapshot(self.extent)
        self.own = self._read_value("meta", "own", Own) or Own()
        self.late = self._read_value("meta", "late", str) == "1"
        self.batches = self._read_batches(node)
        self.members = self._read_alone("members", MemberRecord)
        self.proofs = self._read_alone("proofs", Forked)

    @property
    def damage(self) -> str:
        """All that is wrong, in one line; empty if nothing is."""
        return "; ".join([*self.lost_votes, *self.lost_others])

    @property
    def restored(self) -> Restored:
        """What a peer starts from."""
        voting = self.voting or Voting()
        return Restored(
            HardState(voting.term, NodeId(voting.vote)),
            self.snapshot,
            self.entries,
            voting.impaired or bool(self.lost_votes),
            tuple(each.encoded for each in self.batches if isinstance(each, KeepBatch)),
            tuple(each.collected for each in self.batches if isinstance(each, KeepCollected)),
            self.late,
            tuple(record for _, record in self.members),
            proofs=tuple((NodeId(author), proof) for author, proof in self.proofs),
        )

    # -- rows --------------------------------------------------------------------------------------

    def _rows(self, query: str) -> Iterator[tuple[Any, ...]]:
        """Rows one by one; _Unsound where the file breaks off. A disk that does not answer is no
        damage, and raises what it raises."""
        try:
            yield from self._connection.execute(query)
        except sqlite3.DatabaseError as fault:
            if not _is_corrupt(fault):
                raise
            raise _Unsound(str(fault)) from None

    def _read_value(self, table: str, key: str | int, kind: type[T]) -> T | None:
        """A value kept by `row_checksum`; None if there is no such row."""
        try:
            for found, value, checksum in self._rows(f"SELECT * FROM {table}"):
                if found == key:
                    return _unpacked(table, key, value, checksum, kind)
        except _Unsound as fault:
            if table == "meta":
                raise JournalDamaged(f"{key} in meta: {fault}") from None
            raise
        return None

    # -- Raft's part -------------------------------------------------------------------------------

    def _read_voting(self) -> Voting | None:
        """The newer of the two copies, or the one that is sound; None if neither is."""
        found: list[Voting] = []
        for table in ("voting", "voting_copy"):
            try:
                value = self._read_value(table, ONLY_KEY, Voting)
                if value is None:
                    raise _Unsound("no row")
                found.append(value)
            except _Unsound as fault:
                self.lost_votes.append(f"term and vote in {table}: {fault}")
        if len(found) == 2 and found[0] != found[1]:
            self.lost_votes.append("term and vote: one of two copies is out of date")
        return max(found, key=lambda voting: voting.number) if found else None

    def _read_extent(self) -> Extent | None:
        try:
            for row in self._rows("SELECT * FROM extent"):
                extent = Extent(*row[1:-1])
                if not all(type(value) is int and value >= 0 for value in row[:-1]):
                    raise _Unsound("not numbers")
                if extent.row() != row:
                    raise _Unsound("wrong checksum")
                return extent
            raise _Unsound("no row")
        except _Unsound as fault:
            self.lost_votes.append(f"the extent of the log: {fault}")
            return None

    def _read_log_and_snapshot(self, extent: Extent) -> None:
        try:
            self.snapshot = self._read_snapshot(extent)
        except _Unsound as fault:
            self.lost_votes.append(f"snapshot {extent.snapshot_index}: {fault}")
        entries = self._read_entries(extent)
        base = self.snapshot.index if self.snapshot else 0
        # Entries are of use only where they go on after what is known to be below them.
        if entries and entries[0].index <= base + 1 and entries[-1].index >= base:
            self.entries = tuple(entries)

    def _read_snapshot(self, extent: Extent) -> Snapshot | None:
        head: SnapshotHead | None = None
        state = io.BytesIO()  # hands its bytes over without a copy
        before = 0
        rows = self._rows("SELECT key, value, checksum FROM snapshot ORDER BY key")
        for at, (key, value, checksum) in enumerate(rows):
            if type(value) is not bytes:
                raise _Unsound(f"piece {at} is missing")
            before = piece_checksum(before, at, value)
            if key != at or checksum != before:
                raise _Unsound(f"piece {at} has a wrong checksum")
            if head is None:
                head = _decoded(SnapshotHead, value)
            else:
                state.write(value)
        if before != extent.snapshot or (head.index if head else 0) != extent.snapshot_index:
            raise _Unsound("it is another one, or not all of it")
        if head is None:
            return None
        return Snapshot(
            head.index,
            head.term,
            head.configuration,
            head.configuration_index,
            head.chain,
            head.origin,
            state.getvalue(),
        )

    def _read_entries(self, extent: Extent) -> list[LogEntry]:
        """Entries up to the first that is not what was written."""
        entries: list[LogEntry] = []
        index, before = extent.first, extent.before
        try:
            query = "SELECT key, term, kind, data, checksum FROM log ORDER BY key"
            for key, term, kind, data, checksum in self._rows(query):
                if key != index or index > extent.last:
                    break
                if not (type(term) is type(kind) is int and type(data) is bytes and term >= 0):
                    raise _Unsound("not an entry")
                if kind not in _KINDS:
                    raise _Unsound("not an entry")
                before = entry_checksum(before, index, term, kind, data)
                if checksum != before:
                    raise _Unsound("wrong checksum")
                entries.append(LogEntry(index, term, _KINDS[kind], data))
                index += 1
            else:
                key = None
            if key is not None and index > extent.last:
                raise _Unsound("it is beyond the end of the log")
            if index <= extent.last:
                raise _Unsound("it is missing")
            if before != extent.end:
                raise _Unsound("it is not the one that was last")
        except _Unsound as fault:
            self.lost_votes.append(f"log entry {index} of {extent.first}..{extent.last}: {fault}")
        return entries

    # -- the store's and the members' part ---------------------------------------------------------

    def _read_batches(self, node: NodeId) -> list[KeepBatch | KeepCollected]:
        """By author and sequence, each author's without a gap; JournalDamaged unless all of this
        node's own are there."""
        found: list[tuple[str, int, KeepBatch | KeepCollected]] = []
        last: dict[str, int] = {}
        own_end = 0
        dropped = 0
        try:
            query = "SELECT author, first, last, value, checksum FROM batches ORDER BY key"
            for author, first, end, value, checksum in self._rows(query):
                before = own_end if author == node else 0
                place = Place.of(value) if type(value) is bytes else None
                if type(value) is not bytes or checksum != (
                    batch_checksum(before, author, first, end, value)
                    if place is None
                    else place_checksum(author, first, end, value)
                ):
                    dropped += 1
                elif first != last.get(author, 0) + 1:
                    dropped += 1  # what was between is gone, and a store takes no gaps
                else:
                    last[author] = end
                    own_end = own_end if author != node else place.end if place else checksum
                    found.append((author, first, _record_of(author, first, end, value, place)))
        except _Unsound as fault:
            self._lose_batches(str(fault))
        if Own(last.get(node, 0), own_end) != self.own:
            raise JournalDamaged(
                f"of this node's own batches up to {self.own.last} only {last.get(node, 0)} "
                f"are sound"
            )
        if dropped:
            self._lose_batches(f"{dropped} of other nodes were dropped")
        return [record for _, _, record in sorted(found, key=lambda each: each[:2])]

    def _lose_batches(self, what: str) -> None:
        """This node may get a value again whose deletion it has had and collected: that one is not
        given to it any more."""
        self.lost_others.append(f"batches: {what}")
        self.late = True

    def _read_alone(self, table: str, kind: type[T]) -> list[tuple[str, T]]:
        """Rows that stand alone; who has lost one hears it again from others."""
        found: list[tuple[str, T]] = []
        dropped = 0
        try:
            for key, value, checksum in self._rows(f"SELECT * FROM {table} ORDER BY key"):
                try:
                    found.append((key, _unpacked(table, key, value, checksum, kind)))
                except _Unsound:
                    dropped += 1
        except _Unsound as fault:
            self.lost_others.append(f"{table}: {fault}")
        if dropped:
            self.lost_others.append(f"{table}: {dropped} records were dropped")
        return found


def _record_of(
    author: str, first: int, last: int, value: bytes, place: Place | None
) -> KeepBatch | KeepCollected:
    if place is None:
        return KeepBatch(NodeId(author), first, last, value)
    return KeepCollected(Collected(NodeId(author), first, last, place.link))


def read_meta(connection: sqlite3.Connection) -> dict[str, str]:
    """Cluster, node and starts; JournalDamaged if they are not what was written."""
    try:
        rows = connection.execute("SELECT * FROM meta WHERE key NOT IN ('own', 'late')").fetchall()
        return {key: _unpacked("meta", key, value, check, str) for key, value, check in rows}
    except sqlite3.DatabaseError as fault:
        if not _is_corrupt(fault):
            raise
        raise JournalDamaged(f"meta: {fault}") from None
    except _Unsound as fault:
        raise JournalDamaged(f"meta: {fault}") from None


def structure(connection: sqlite3.Connection) -> str:
    """What is wrong with the file's structure, whatever it holds; empty if nothing is. Writing into
    such a file would do more damage."""
    try:
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as fault:
        if not _is_corrupt(fault):
            raise
        verdict = fault
    return "" if verdict == "ok" else f"structure: {' '.join(str(verdict).split())}"


def _unpacked(table: str, key: str | int, value: object, checksum: object, kind: type[T]) -> T:
    if type(value) is not bytes or row_checksum(table, key, value) != checksum:
        raise _Unsound("wrong checksum")
    return _decoded(kind, value)


def _decoded(kind: type[T], value: bytes) -> T:
    try:
        return unpack_value(kind, value)
    except RemoteProtocolError as fault:
        raise _Unsound(str(fault)) from None


def _is_corrupt(fault: sqlite3.DatabaseError) -> bool:
    code = getattr(fault, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
