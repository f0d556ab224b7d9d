"""The file in which a node keeps what it must not forget: one sqlite3 database.

    meta        cluster, node, starts
    hard_state  Raft's term and vote, one row
    log         Raft's entries by index
    batches     the store's signed batches by author and first sequence
    members     the members' own records by node

Invariant: a file is used only if all of it is sound and it belongs to this node of this cluster;
otherwise one line says what is wrong and what to do, and the file is left as it is. Each row
carries a CRC-32 over its table, key and value, so a value that was changed, or moved to another
row, is noticed. Rows that are missing at the end of a table are not: no checksum covers those.

Durability is sqlite's: write-ahead log, synchronous=FULL, so a commit returns after fsync.
"""

from __future__ import annotations

import os
import sqlite3
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from protocol.codec import pack_value, unpack_value
from protocol.effects import AppendEntries, HardState, KeepBatch, KeepMember, Record, Restored, KeepSnapshot, DropLog, KeepImpairment, Snapshot
from protocol.errors import QuorateError, RemoteProtocolError
from protocol.identity import NodeId
from protocol.messages import LogEntry, MemberRecord

FILE = "journal.db"
SCHEMA_VERSION = 1
_APPLICATION_ID = 0x51524A31  # marks the file as ours
_BUSY_TIMEOUT_S = 5.0  # for another program that looks into the file
_SCHEMA = """
    CREATE TABLE meta(key TEXT PRIMARY KEY, value BLOB, checksum INTEGER);
    CREATE TABLE hard_state(key INTEGER PRIMARY KEY, value BLOB, checksum INTEGER);
    CREATE TABLE snapshot(key INTEGER PRIMARY KEY, value BLOB, checksum INTEGER);
    CREATE TABLE log(key INTEGER PRIMARY KEY, value BLOB, checksum INTEGER);
    CREATE TABLE batches(author TEXT, first INTEGER, last INTEGER, value BLOB, checksum INTEGER,
                         PRIMARY KEY(author, first));
    CREATE TABLE members(key TEXT PRIMARY KEY, value BLOB, checksum INTEGER);
"""
_HARD_STATE_KEY = 0

T = TypeVar("T")


class JournalError(QuorateError):
    """Base of all that is wrong with a journal. One line: what, and what to do."""


class JournalForeign(JournalError):
    """The directory belongs to another cluster or another node."""


class JournalMissing(JournalError):
    """A node that has been in a team, and has forgotten everything."""


class JournalDamaged(JournalError):
    """The file is not what was written."""


class JournalNewer(JournalError):
    """The file was written by a newer version of this program."""


class JournalInUse(JournalError):
    """Another process works with the directory."""


class JournalUnwritable(JournalError):
    """The directory or the file cannot be written, or not any more."""


class Database:
    """An open journal file. Every method may be called by one thread at a time."""

    def __init__(self, data_dir: Path) -> None:
        """Open the file, making it if there is none, and check that it is sound."""
        self.path = data_dir / FILE
        # Autocommit: transactions are begun and ended here, in so many words.
        self._connection = self._guard(
            lambda: sqlite3.connect(
                self.path, _BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
        )
        try:
            self._guard(self._prepare)
        except JournalError:
            self._connection.close()
            raise

    def claim(self, cluster: str, node: NodeId) -> int:
        """Make sure that the file is that of `node` in `cluster`, and count one more start."""
        return self._guard(lambda: self._claim(cluster, node))

    def load(self) -> Restored:
        """Everything that was written, after checking each row."""
        return self._guard(self._load)

    def write(self, writes: Iterable[tuple[Record, ...]]) -> None:
        """Make all the records durable in one transaction, or none of them."""
        self._guard(lambda: self._in_transaction(lambda: self._apply(writes)))

    def close(self) -> None:
        """Close the file; its write-ahead log is folded into it."""
        self._guard(self._connection.close)

    # -- errors ----------------------------------------------------------------------------------

    def _guard(self, action: Callable[[], T]) -> T:
        """Run `action`; what sqlite3 complains of becomes a JournalError that names the file."""
        try:
            return action()
        except sqlite3.Error as fault:
            code = getattr(fault, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise JournalInUse(
                    f"{self.path} is locked by another program: close it, then start again"
                ) from None
            if code in _UNWRITABLE:
                raise JournalUnwritable(
                    f"{self.path} cannot be written ({fault}): make room, or give this user a "
                    f"data directory to write in, then start again"
                ) from None
            raise self._damaged(str(fault)) from None
        except (RemoteProtocolError, UnicodeDecodeError) as fault:
            raise self._damaged(str(fault)) from None

    def _damaged(self, detail: str) -> JournalDamaged:
        return JournalDamaged(
            f"{self.path} is damaged ({detail}): move the data directory away and join again as a "
            f"new node"
        )

    # -- opening ---------------------------------------------------------------------------------

    def _prepare(self) -> None:
        version = self._number("PRAGMA user_version")
        is_ours = self._number("PRAGMA application_id") == _APPLICATION_ID
        is_empty = self._number("SELECT count(*) FROM sqlite_master") == 0
        if not is_ours and not (is_empty and version == 0):
            raise self._damaged("it is a database of another kind")
        if version > SCHEMA_VERSION:
            raise JournalNewer(
                f"{self.path} has format {version}, this version knows up to {SCHEMA_VERSION}: "
                f"use the version that wrote it, or a newer one"
            )
        (mode,) = self._connection.execute("PRAGMA journal_mode=WAL").fetchone()
        if mode != "wal":
            raise JournalUnwritable(
                f"{self.path} cannot have a write-ahead log: use a data directory on a local disk"
            )
        self._connection.execute("PRAGMA synchronous=FULL")
        if is_empty:
            self._in_transaction(self._create)
            _sync_directory(self.path.parent)
        (verdict,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise self._damaged(str(verdict).replace("\n", " "))
        self._load()

    def _create(self) -> None:
        for statement in _SCHEMA.split(";"):
            self._connection.execute(statement)
        self._connection.execute(f"PRAGMA application_id={_APPLICATION_ID}")
        self._connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    def _claim(self, cluster: str, node: NodeId) -> int:
        kept = {key: unpack_value(str, value) for key, value in self._rows("meta")}
        if kept.get("cluster", cluster) != cluster:
            raise JournalForeign(
                f"{self.path.parent} belongs to cluster {kept['cluster']!r}, not {cluster!r}: give "
                f"another data directory, or that cluster's name"
            )
        if kept.get("node", node) != node:
            raise JournalForeign(
                f"{self.path.parent} belongs to node {kept['node']}, but its key is that of node "
                f"{node}: restore the key, or move the data directory away and join as a new node"
            )
        starts = int(kept.get("starts", "0")) + 1

        def note() -> None:
            for key, value in (("cluster", cluster), ("node", node), ("starts", str(starts))):
                self._put("meta", key, pack_value(value))

        self._in_transaction(note)
        return starts

    # -- reading ---------------------------------------------------------------------------------

    def _number(self, query: str) -> int:
        (number,) = self._connection.execute(query).fetchone()
        return int(number)

    def _rows(self, table: str) -> list[tuple[str | int, bytes]]:
        """Key and value of all rows by key; JournalDamaged unless all checksums are right."""
        query = f"SELECT key, value, checksum FROM {table} ORDER BY key"
        found = []
        for key, value, checksum in self._connection.execute(query):
            if type(value) is not bytes or _checksum(table, key, value) != checksum:
                raise self._damaged(f"wrong checksum of row {key!r} in {table}")
            found.append((key, value))
        return found

    def _batches(self) -> tuple[bytes, ...]:
        query = "SELECT author, first, last, value, checksum FROM batches ORDER BY author, first"
        found = []
        for author, first, last, value, checksum in self._connection.execute(query):
            if type(value) is not bytes or (
                _checksum("batches", f"{author} {first} {last}", value) != checksum
            ):
                raise self._damaged(f"wrong checksum of batch {first} of {author!r}")
            found.append(value)
        return tuple(found)

    def _load(self) -> Restored:
        self._rows("meta")
        hard_states = [unpack_value(HardState, value) for _, value in self._rows("hard_state")]
        log = self._rows("log")
        entries = tuple(unpack_value(LogEntry, value) for _, value in log)
        for at, ((key, _), entry) in enumerate(zip(log, entries, strict=True)):
            if not key == entry.index == entries[0].index + at:
                raise self._damaged(f"log entry {entries[0].index + at} is missing")
        members = [unpack_value(MemberRecord, value) for _, value in self._rows("members")]
        hard_state = hard_states[0] if hard_states else HardState(0, NodeId(""))
        snapshots = [unpack_value(Snapshot, value) for _, value in self._rows("snapshot")]
        snapshot = snapshots[0] if snapshots else None
        return Restored(hard_state, snapshot, entries, False, self._batches(), tuple(members))

    # -- writing ---------------------------------------------------------------------------------

    def _in_transaction(self, action: Callable[[], None]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            action()
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:  # some errors have rolled back already
                self._connection.execute("ROLLBACK")
            raise

    def _apply(self, writes: Iterable[tuple[Record, ...]]) -> None:
        for records in writes:
            for record in records:
                match record:
                    case HardState():
                        self._put("hard_state", _HARD_STATE_KEY, pack_value(record))
                    case AppendEntries():
                        self._append(record.entries)
                    case KeepSnapshot():
                        self._put("snapshot", 0, pack_value(record.snapshot))
                        bound = 2**62 if record.replace else record.keep_from
                        self._connection.execute("DELETE FROM log WHERE key < ?", (bound,))
                    case DropLog():
                        self._connection.execute("DELETE FROM log")
                        self._connection.execute("DELETE FROM snapshot")
                    case KeepImpairment():
                        pass
                    case KeepBatch():
                        self._keep_batch(record)
                    case KeepMember():
                        self._put("members", record.record.node, pack_value(record.record))

    def _put(self, table: str, key: str | int, value: bytes) -> None:
        self._connection.execute(
            f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?)",
            (key, value, _checksum(table, key, value)),
        )

    def _append(self, entries: tuple[LogEntry, ...]) -> None:
        if not entries:
            return
        first = entries[0].index
        assert [entry.index for entry in entries] == list(range(first, first + len(entries)))
        self._connection.execute("DELETE FROM log WHERE key >= ?", (first,))
        rows = [(entry.index, pack_value(entry)) for entry in entries]
        self._connection.executemany(
            "INSERT INTO log VALUES (?, ?, ?)",
            [(index, value, _checksum("log", index, value)) for index, value in rows],
        )

    def _keep_batch(self, batch: KeepBatch) -> None:
        key = f"{batch.author} {batch.first} {batch.last}"
        checksum = _checksum("batches", key, batch.encoded)
        self._connection.execute(
            "INSERT OR REPLACE INTO batches VALUES (?, ?, ?, ?, ?)",
            (batch.author, batch.first, batch.last, batch.encoded, checksum),
        )


_UNWRITABLE = (
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
)


def _checksum(table: str, key: str | int, value: bytes) -> int:
    return zlib.crc32(value, zlib.crc32(f"{table} {key}\0".encode()))


def _sync_directory(folder: Path) -> None:
    """The name of a new file is durable only when its directory is (fsync(2))."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
