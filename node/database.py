"""The file in which a node keeps what it must not forget: one sqlite3 database.

`journal_file` has its form, `salvage` judges what is in it, `keeping` writes into it.

Invariant: a node never goes on, without knowing it, from a file that is not what it wrote. What it
can do without is left out and named in `damage`: the damaged file is put aside, and a new one with
all that is certainly sound, marked as impaired if Raft's part has suffered, takes its place in one
step. If it cannot do without, one line says what is wrong and what to do, and the file stays.

Durability is sqlite's: write-ahead log, synchronous=FULL, so a commit returns after its fsync.
Checkpoints are never part of a commit: `fold` is called when there is time.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from node import write_ahead
from node.blob_files import BlobFiles
from node.journal_file import (
    APPLICATION_ID,
    FILE,
    SCHEMA,
    SCHEMA_VERSION,
    Extent,
    JournalDamaged,
    JournalError,
    JournalForeign,
    JournalInUse,
    JournalNewer,
    JournalOlder,
    JournalUnreadable,
    JournalUnwritable,
    Own,
    Voting,
)
from node.keeping import Keeper
from node.salvage import Survey, read_meta, structure
from protocol.codec import pack_value
from protocol.effects import (
    AppendEntries,
    DropBlob,
    KeepImpairment,
    KeepLateness,
    KeepManifest,
    KeepMember,
    KeepPart,
    KeepProof,
    KeepSnapshot,
    Record,
    Restored,
)
from protocol.identity import NodeId

WITNESS_FILE = "journal.witness"
BLOBS_FOLDER = "blobs"
DAMAGED_KEPT_MAX = 3  # files put aside; then the oldest goes
_DRAFT_FILE = "journal.db.new"
_BUSY_TIMEOUT_S = 5.0  # for another program that looks into the file


class Database:
    """An open journal file of one node. Every method may be called by one thread at a time."""

    def __init__(self, data_dir: Path, cluster: str, node: NodeId) -> None:
        """Open the file, making it if there is none, and count one more start."""
        self.path = data_dir / FILE
        self.damage = ""  # what was found when it was opened, and where the damaged file is now
        self.blobs = BlobFiles(data_dir / BLOBS_FOLDER)
        self._node = node
        self._restored: Restored | None = None
        with _guarded(self.path):
            if self.path.is_file() and (lost := write_ahead.lost_transactions(self.path)):
                raise JournalDamaged(lost)
            self._witness = write_ahead.Witness(data_dir / WITNESS_FILE)
            try:
                self._open(cluster)
            except BaseException:
                self._witness.close()
                raise

    def load(self) -> Restored:
        """Everything that was written. Once: it may be large."""
        restored, self._restored = self._restored, None
        assert restored is not None, "loaded before"
        return restored

    def write(self, writes: Sequence[tuple[Record, ...]]) -> None:
        """Make all the records durable in one transaction, or none of them. After an error nothing
        more may be written."""
        with _guarded(self.path):
            for records in writes:
                for record in records:
                    if isinstance(record, KeepManifest | KeepPart | DropBlob):
                        self.blobs.keep(record)
            with _transaction(self._connection):
                for records in writes:
                    self._keeper.keep(records)
                self._keeper.seal()
        self._witness.note(self._keeper.extent.number)

    def fold(self) -> None:
        """Bring the write-ahead log into the file, so that the next write begins it anew."""
        with _guarded(self.path):
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def close(self) -> None:
        """Close the file; its write-ahead log is folded into it."""
        self._witness.close()
        with _guarded(self.path):
            self._connection.close()

    # -- opening -----------------------------------------------------------------------------------

    def _open(self, cluster: str) -> None:
        self._connection = _connect(self.path)
        try:
            survey = self._examine(cluster)
            if survey.damage:
                self._replace(cluster, survey)
                survey = self._examine(cluster)
                assert not survey.damage
            self._restored = replace(survey.restored, blobs=self.blobs.held())
            self._start(cluster, survey)
        except BaseException:
            self._connection.close()
            raise

    def _examine(self, cluster: str) -> Survey:
        """What is in the file; a JournalError if it cannot be used at all."""
        if _prepare(self._connection, self.path):
            with _transaction(self._connection):
                _create(self._connection, self._node, cluster)
            write_ahead.sync_directory(self.path.parent)
        meta = read_meta(self._connection)
        if meta.keys() != {"cluster", "node", "starts"}:
            raise JournalDamaged("meta is not complete")
        _check_owner(self.path, meta, cluster, self._node)
        survey = Survey(self._connection, self._node)
        self._starts = int(meta["starts"])
        if survey.extent is not None:
            if survey.extent.starts != self._starts:
                raise JournalDamaged(f"{self._starts} starts counted, {survey.extent.starts} made")
            if survey.extent.number < self._witness.read():
                missing = self._witness.read() - survey.extent.number
                raise JournalDamaged(f"the last {missing} transactions are missing")
        if not survey.damage and (fault := structure(self._connection)):
            survey.lost_others.append(fault)
        return survey

    def _start(self, cluster: str, survey: Survey) -> None:
        """Count the start, and make the file ready for writing."""
        assert survey.voting is not None
        assert survey.extent is not None
        connection = self._connection
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise JournalInUse(_LOCKED.format(self.path))
        write_ahead.preallocate(self.path)
        self.starts = self._starts + 1
        extent = replace(survey.extent, starts=self.starts)
        self._keeper = Keeper(connection, self._node, survey.voting, extent, survey.own)
        with _transaction(connection):
            self._keeper.put("meta", "starts", pack_value(str(self.starts)))
            self._keeper.seal()
        self._witness.note(self._keeper.extent.number)

    # -- damage ------------------------------------------------------------------------------------

    def _replace(self, cluster: str, survey: Survey) -> None:
        """Put the damaged file aside and a new one with what is sound in its place."""
        number = max(survey.extent.number if survey.extent else 0, self._witness.read())
        draft = self._write_draft(cluster, survey, number)
        aside = _put_aside(self.path)
        self._connection.close()
        for leftover in ("-wal", "-shm"):  # they would be taken for the new file's
            self.path.with_name(FILE + leftover).unlink(missing_ok=True)
        draft.replace(self.path)
        write_ahead.sync_directory(self.path.parent)
        self.damage = f"{survey.damage}; the damaged file is kept as {aside.name}"
        self._connection = _connect(self.path)

    def _write_draft(self, cluster: str, survey: Survey, number: int) -> Path:
        draft = self.path.with_name(_DRAFT_FILE)
        for leftover in ("", "-wal", "-shm"):
            draft.with_name(draft.name + leftover).unlink(missing_ok=True)
        with contextlib.closing(_connect(draft)) as connection:
            _prepare(connection, draft)
            with _transaction(connection):
                _create(connection, self._node, cluster, self._starts, number)
                extent = Extent(number, self._starts)
                keeper = Keeper(connection, self._node, Voting(), extent, Own())
                keeper.keep(_records_of(survey))
                keeper.seal()
        return draft


def _records_of(survey: Survey) -> Iterable[Record]:
    """What writes all that is sound once more."""
    restored = survey.restored
    yield KeepImpairment(restored.impaired)
    yield restored.hard_state
    if restored.snapshot is not None:
        yield KeepSnapshot(restored.snapshot, restored.snapshot.index + 1, replace=True)
    yield AppendEntries(restored.entries)
    yield from survey.batches
    yield KeepLateness(restored.late)
    for member in restored.members:
        yield KeepMember(member)
    for author, proof in restored.proofs:
        yield KeepProof(author, proof)


def _put_aside(path: Path) -> Path:
    """Keep the file under another name; its new name."""
    kept = sorted(
        (int(each.suffix.removeprefix(".damaged-")), each)
        for each in path.parent.glob(f"{path.name}.damaged-*")
        if re.fullmatch(r"\.damaged-[0-9]+", each.suffix)
    )
    for _, old in kept[: max(0, len(kept) + 1 - DAMAGED_KEPT_MAX)]:
        old.unlink()
        write_ahead.log_of(old).unlink(missing_ok=True)
    aside = path.with_name(f"{path.name}.damaged-{kept[-1][0] + 1 if kept else 1}")
    for source, target in (
        (path, aside),
        (write_ahead.log_of(path), write_ahead.log_of(aside)),
    ):
        if not source.exists() or source.stat().st_size == 0:
            continue
        try:
            os.link(source, target)
        except OSError:  # a file system without links
            shutil.copyfile(source, target)
    return aside


# -- sqlite ----------------------------------------------------------------------------------------


def _connect(path: Path) -> sqlite3.Connection:
    # Autocommit: transactions are begun and ended here, in so many words.
    connection = sqlite3.connect(
        path, _BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    connection.text_factory = lambda text: text.decode(errors="replace")  # judged by checksums
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> bool:
    """Make sure that the file is a journal of this version, and set it up; whether it is new."""

    def number(query: str) -> int:
        (found,) = connection.execute(query).fetchone()
        return int(found)

    version = number("PRAGMA user_version")
    is_ours = number("PRAGMA application_id") == APPLICATION_ID
    tables = {sql for (sql,) in connection.execute("SELECT sql FROM sqlite_master") if sql}
    is_new = not tables and version == 0
    if not is_ours and not is_new:
        raise JournalDamaged("it is a database of another kind")
    if version > SCHEMA_VERSION:
        raise JournalNewer(
            f"{path} has format {version}, this version knows up to {SCHEMA_VERSION}: "
            f"use the version that wrote it, or a newer one"
        )
    if version < SCHEMA_VERSION and not is_new:
        # Not converted: what its entries mean has changed, too.
        raise JournalOlder(
            f"{path} has format {version}, this version needs {SCHEMA_VERSION}: finish with the "
            f"version that wrote it, or move the data directory away and join as a new node"
        )
    if not is_new and tables != set(SCHEMA):
        raise JournalDamaged("its tables are not those of a journal")
    (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    if mode != "wal":
        raise JournalUnwritable(
            f"{path} cannot have a write-ahead log: use a data directory on a local disk"
        )
    for pragma in (
        "synchronous=FULL",
        "wal_autocheckpoint=0",  # a commit waits for nothing but its own fsync
        f"journal_size_limit={write_ahead.SIZE}",  # what a large snapshot needs is given back
        "secure_delete=OFF",  # nothing here is secret from whoever may read the file
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    return is_new


def _create(
    connection: sqlite3.Connection, node: NodeId, cluster: str, starts: int = 0, number: int = 0
) -> None:
    """A journal without records."""
    for statement in SCHEMA:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
    keeper = Keeper(connection, node, Voting(), Extent(number, starts), Own())
    for key, value in (("cluster", cluster), ("node", node), ("starts", str(starts))):
        keeper.put("meta", key, pack_value(value))
    keeper.create()
    keeper.seal()


def _check_owner(path: Path, meta: dict[str, str], cluster: str, node: NodeId) -> None:
    if meta["cluster"] != cluster:
        raise JournalForeign(
            f"{path.parent} belongs to cluster {meta['cluster']!r}, not {cluster!r}: give another "
            f"data directory, or that cluster's name"
        )
    if meta["node"] != node:
        raise JournalForeign(
            f"{path.parent} belongs to node {meta['node']}, but its key is that of node {node}: "
            f"restore the key, or move the data directory away and join as a new node"
        )


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # some errors have rolled back already
            with contextlib.suppress(sqlite3.Error):  # the first error says more
                connection.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def _guarded(path: Path) -> Iterator[None]:
    """What sqlite3 and the system complain of becomes a JournalError that names the file."""
    try:
        yield
    except JournalDamaged as fault:
        raise JournalDamaged(_DAMAGED.format(path, fault)) from None
    except sqlite3.Error as fault:
        raise _as_journal_error(path, fault) from None
    except UnicodeDecodeError as fault:  # in names that sqlite3 itself decodes
        raise JournalDamaged(_DAMAGED.format(path, fault)) from None
    except OSError as fault:
        raise JournalUnwritable(_UNWRITABLE.format(path, fault.strerror)) from None


_DAMAGED = "{} is damaged ({}): move the data directory away and join again as a new node"
_LOCKED = "{} is locked by another program: close it, then start again"
_UNWRITABLE = (
    "{} cannot be written ({}): make room, or give this user a data directory to write in, then "
    "start again"
)
_UNREADABLE_CODES = (
    sqlite3.SQLITE_IOERR_READ,
    sqlite3.SQLITE_IOERR_FSTAT,
    sqlite3.SQLITE_IOERR_CORRUPTFS,  # what sqlite makes of EIO
)
_UNWRITABLE_CODES = (
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
)


def _as_journal_error(path: Path, fault: sqlite3.Error) -> JournalError:
    extended = getattr(fault, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    code = extended & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return JournalInUse(_LOCKED.format(path))
    if extended in _UNREADABLE_CODES:
        return JournalUnreadable(
            f"{path} cannot be read ({fault}): what is in it may be sound: look after the disk, "
            f"then start again"
        )
    if code in _UNWRITABLE_CODES:
        return JournalUnwritable(_UNWRITABLE.format(path, fault))
    return JournalDamaged(_DAMAGED.format(path, fault))
