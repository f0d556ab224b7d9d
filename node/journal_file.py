"""The form of a journal's file: its tables, its checksums, and what can be wrong with it.

    meta      cluster, node, starts; `own`: how far this node's own batches reach
    voting    Raft's term and vote and whether the node is impaired, one row; `voting_copy` again
    extent    where log and snapshot begin and end, and the number of the last transaction, one row
    log       Raft's entries by index
    snapshot  its head as row 0, then its state in pieces
    batches   the store's signed batches in the order in which they came; where some were collected
              their places (`Place`), neighbours in one row
    members   the members' own records by node
    proofs    two batches of each author that has signed two histories

Invariant: no row can be changed, lost, exchanged or brought back from the past unnoticed, as long
as one page of the file suffers at a time (disks lose and misplace writes: Bairavasundaram et al.,
*An Analysis of Data Corruption in the Storage Stack*, 2008). The checksum of an entry, of a piece
of the snapshot and of an own batch covers the checksum before it, and a row in another page says
how the chain ends. What has no chain is kept twice, numbered. Other authors' batches and the
members' records stand alone: if lost, gossip brings them again.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from protocol.configuration import Configuration
from protocol.errors import QuorateError

FILE = "journal.db"
SCHEMA_VERSION = 8
APPLICATION_ID = 0x51524A31  # marks the file as ours
SCHEMA = (
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value BLOB, checksum INTEGER) WITHOUT ROWID",
    "CREATE TABLE voting(key INTEGER PRIMARY KEY, value BLOB, checksum INTEGER)",
    "CREATE TABLE voting_copy(key INTEGER PRIMARY KEY, value BLOB, checksum INTEGER)",
    "CREATE TABLE extent(key INTEGER PRIMARY KEY, number INTEGER, starts INTEGER, first INTEGER,"
    " before INTEGER, last INTEGER, end INTEGER, snapshot_index INTEGER, snapshot INTEGER,"
    " checksum INTEGER)",
    "CREATE TABLE log(key INTEGER PRIMARY KEY, term INTEGER, kind INTEGER, data BLOB,"
    " checksum INTEGER)",
    "CREATE TABLE snapshot(key INTEGER PRIMARY KEY, value BLOB, checksum INTEGER)",
    "CREATE TABLE batches(key INTEGER PRIMARY KEY, author TEXT, first INTEGER, last INTEGER,"
    " value BLOB, checksum INTEGER)",
    "CREATE INDEX batches_place ON batches(author, first)",
    "CREATE TABLE members(key TEXT PRIMARY KEY, value BLOB, checksum INTEGER) WITHOUT ROWID",
    "CREATE TABLE proofs(key TEXT PRIMARY KEY, value BLOB, checksum INTEGER)",
)
_EXTENT = struct.Struct(">9Q")
_ENTRY = struct.Struct(">IQQI")
PIECE_SIZE = 1024 * 1024  # of a snapshot's state; sqlite takes a blob of 1 GB at most
ONLY_KEY = 0  # of tables with one row
_PLACE_MARK = b"\0"


class JournalError(QuorateError):
    """Base of all that is wrong with a journal. One line: what, and what to do."""


class JournalForeign(JournalError):
    """The directory belongs to another cluster or another node."""


class JournalMissing(JournalError):
    """A node that has been in a team, and has forgotten everything."""


class JournalDamaged(JournalError):
    """The file is not what was written, and the node cannot do without what is wrong."""


class JournalNewer(JournalError):
    """The file was written by a newer version of this program."""


class JournalOlder(JournalError):
    """The file was written by an older version of this program."""


class JournalInUse(JournalError):
    """Another process works with the directory."""


class JournalUnreadable(JournalError):
    """The disk does not give back what is in the file; it may do so another time."""


class JournalUnwritable(JournalError):
    """The directory or the file cannot be written, or not any more."""


# -- rows of their own form ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Voting:
    """What must not be forgotten between two elections. `number` counts the changes."""

    number: int = 0
    term: int = 0
    vote: str = ""
    impaired: bool = False


@dataclass(slots=True)
class Extent:
    """The log holds the entries `first`..`last`, none if `last` is `first` - 1. `before` and `end`
    are the checksums of the entry before the first and of the last; `snapshot` that of the last
    piece of the snapshot of the log up to `snapshot_index`, which is 0 if there is none."""

    number: int = 0  # of transactions
    starts: int = 0  # as in `meta`, which lies in another page
    first: int = 1
    before: int = 0
    last: int = 0
    end: int = 0
    snapshot_index: int = 0
    snapshot: int = 0

    def row(self) -> tuple[int, ...]:
        """The row for it, checksum included. Written in every transaction, so it must be fast."""
        values = (
            ONLY_KEY,
            self.number,
            self.starts,
            self.first,
            self.before,
            self.last,
            self.end,
            self.snapshot_index,
            self.snapshot,
        )
        return (*values, zlib.crc32(_EXTENT.pack(*values)))


@dataclass(frozen=True, slots=True)
class Own:
    """This node's own batches reach up to sequence `last`; `end` is the last one's checksum."""

    last: int = 0
    end: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """What a collected batch leaves behind: the author's hash chain after it, and the checksum of
    its row, on which that of the next own batch builds."""

    link: bytes
    end: int

    def packed(self) -> bytes:
        """The row's value. A batch begins with another byte."""
        return _PLACE_MARK + self.end.to_bytes(4, "big") + self.link

    @classmethod
    def of(cls, value: bytes) -> Place | None:
        """None if the value is a batch."""
        if value[:1] != _PLACE_MARK:
            return None
        return cls(value[5:], int.from_bytes(value[1:5], "big"))


@dataclass(frozen=True, slots=True)
class SnapshotHead:
    """A snapshot without its state, which follows in pieces."""

    index: int
    term: int
    configuration: Configuration
    configuration_index: int
    chain: bytes
    origin: bytes
    size: int


# -- checksums -------------------------------------------------------------------------------------


def row_checksum(table: str, key: str | int, value: bytes) -> int:
    """CRC-32 over a row that stands alone: a value is at home in one place only."""
    return zlib.crc32(value, zlib.crc32(f"{table} {key}\0".encode()))


def entry_checksum(before: int, index: int, term: int, kind: int, data: bytes) -> int:
    """CRC-32 over an entry and all of its predecessors."""
    return zlib.crc32(data, zlib.crc32(_ENTRY.pack(before, index, term, kind)))


def piece_checksum(before: int, key: int, piece: bytes | memoryview) -> int:
    """CRC-32 over a row of the snapshot and those before it."""
    return zlib.crc32(piece, zlib.crc32(f"snapshot {key} {before}\0".encode()))


def place_checksum(author: str, first: int, last: int, value: bytes) -> int:
    """CRC-32 over the row of a collected batch."""
    return zlib.crc32(value, zlib.crc32(f"place {author} {first} {last}\0".encode()))


def batch_checksum(before: int, author: str, first: int, last: int, encoded: bytes) -> int:
    """CRC-32 over a batch and, of this node's own, all before it; `before` is 0 for others."""
    return zlib.crc32(encoded, zlib.crc32(f"batches {author} {first} {last} {before}\0".encode()))
