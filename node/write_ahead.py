"""What sqlite's write-ahead log does not say of itself.

sqlite takes a write-ahead log up to the first frame whose checksum is wrong for all there is: so a
torn transaction vanishes as a whole, which is right, since it was never confirmed. But a frame that
decayed later ends the log just the same, and confirmed transactions after it vanish silently.

`lost_transactions` tells the two apart: the next transaction is begun only after the one before is
on the disk, so at most one can be torn, and more than one after the end means decay. (If the very
last one decays it is taken for torn. That one the witness may know of.)

`Witness` is the number of the last confirmed transaction, in a file of its own. It is not synced,
which would cost as much as the transaction: it knows what is missing after a crash of the process,
and after a power cut what is missing from longer ago.

`preallocate`: a log that grows costs a second write for its metadata with each sync (measured: a
commit takes 1.3 times as long), one that is overwritten does not.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import struct
import zlib
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import IO

SIZE = 8 * 1024 * 1024  # of the log on the disk, from the start
_HEADER = struct.Struct(">8I")  # magic, version, page size, checkpoints, 2 salts, 2 checksums
_FRAME = struct.Struct(">6I")  # page, pages after a commit or 0, 2 salts, 2 checksums
_PAGE_SIZE = 4096  # sqlite's choice for a new file
_MAGIC = 0x377F0682  # +1 if the checksums are big-endian
_INDEX_FRAMES = struct.Struct("=I")  # in the index of the log
_INDEX_FRAMES_AT = 16
_WITNESS = struct.Struct(">QI")


def log_of(path: Path) -> Path:
    """The write-ahead log of the database `path`."""
    return path.with_name(f"{path.name}-wal")


def preallocate(path: Path) -> None:
    """Fill the log, which holds nothing, up to its size. sqlite starts at its beginning."""
    log = log_of(path)
    with log.open("r+b") as file:
        assert file.seek(0, os.SEEK_END) == 0, "the log holds something"
        # No fallocate: what it promises has yet to be written down when it is used, so that costs
        # as much as growing (measured).
        file.write(bytes(SIZE))
        file.flush()
        os.fsync(file.fileno())
    sync_directory(log.parent)


def sync_directory(folder: Path) -> None:
    """The name of a new file is durable only when its directory is (fsync(2))."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# -- decay -----------------------------------------------------------------------------------------


def lost_transactions(path: Path) -> str:
    """What sqlite would leave out without a word, in one line; empty if nothing is known to be.
    Changes nothing. Call it before anything else opens the file."""
    log = log_of(path)
    if not log.exists() or log.stat().st_size < _HEADER.size:
        return ""
    with log.open("rb") as file:
        start = file.read(_HEADER.size)
        header = _HEADER.unpack(start)
        if not any(header):
            used = any(any(frame) for _, frame in _frames(file, _PAGE_SIZE))
            return "its write-ahead log has lost its beginning" if used else ""
        if header[0] & ~1 != _MAGIC or _header_checksums(header[0], start) != header[6:]:
            return "its write-ahead log has a damaged beginning"
        commits = [
            number
            for number, frame in _frames(file, header[2])
            if frame[2:4] == header[4:6] and frame[1]
        ]
    if not commits:
        return ""
    end = _end_for_sqlite(path)
    after = sum(number > end for number in commits)
    if after < 2:
        return ""
    return f"its write-ahead log breaks off after frame {end}, with {after} transactions after that"


def _frames(file: IO[bytes], page_size: int) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Number and head of each frame."""
    place = _HEADER.size
    for number in count(1):
        head = os.pread(file.fileno(), _FRAME.size, place)
        if len(head) != _FRAME.size:
            return
        yield number, _FRAME.unpack(head)
        place += _FRAME.size + page_size


def _header_checksums(magic: int, header: bytes) -> tuple[int, int]:
    """https://www.sqlite.org/fileformat2.html#checksum_algorithm"""
    words = struct.unpack_from(">6I" if magic & 1 else "<6I", header)
    first = second = 0
    for at in range(0, len(words), 2):
        first = (first + words[at] + second) & 0xFFFFFFFF
        second = (second + words[at + 1] + first) & 0xFFFFFFFF
    return first, second


def _end_for_sqlite(path: Path) -> int:
    """The number of the last frame that sqlite takes. It recovers the log when it reads first, and
    notes in the log's index (https://www.sqlite.org/walformat.html#the_wal_index_header) what it
    has found; a connection that may only read leaves the log as it is."""
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as it:
        it.execute("BEGIN")
        it.execute("SELECT count(*) FROM sqlite_master").fetchone()
        index = path.with_name(f"{path.name}-shm").read_bytes()[:64]
        return int(_INDEX_FRAMES.unpack_from(index, _INDEX_FRAMES_AT)[0])


# -- the witness -----------------------------------------------------------------------------------


class Witness:
    """The number of the last confirmed transaction, kept beside the database."""

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def read(self) -> int:
        """The number, or 0 if there is none or it cannot be read: a help, not a condition."""
        found = os.pread(self._handle, _WITNESS.size, 0)
        if len(found) != _WITNESS.size:
            return 0
        number, checksum = _WITNESS.unpack(found)
        return int(number) if zlib.crc32(found[:8]) == checksum else 0

    def note(self, number: int) -> None:
        """Take note that this transaction has been confirmed."""
        packed = number.to_bytes(8, "big")
        with contextlib.suppress(OSError):  # a help, not a condition; too small a number is no lie
            os.pwrite(self._handle, packed + zlib.crc32(packed).to_bytes(4, "big"), 0)

    def close(self) -> None:
        os.close(self._handle)
