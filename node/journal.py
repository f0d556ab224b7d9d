"""The journal: what a peer persists is durable before it is told so.

    journal = Journal.open(data_dir, cluster, node)
    peer = Peer(..., journal.load(), ...)
    journal.write(sequence, records, done)     # later, in the loop: done(sequence)
    journal.status().waiting_s                 # how long the disk has not answered
    journal.close()

One thread writes. Whatever has been handed over while it was at the disk becomes the next
transaction (group commit), so the more there is to write the less one write costs.

Invariant: `done` is called in the order of the sequences, with a sequence only when it and all
before it are on the disk. After a failed write nothing is written any more: what an fsync that
failed has left behind cannot be known (Rebello et al., *Can Applications Recover from fsync
Failures?*, 2020), so the node has to stop and restart from what the file holds.

The loop never waits for the writer: it holds no lock, and the pipe that wakes the writer gets one
byte for each time that it falls asleep.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import IO

from node.database import Database
from node.journal_file import JournalError, JournalInUse, JournalUnwritable
from protocol.effects import AppendEntries, KeepBatch, KeepSnapshot, Record, Restored
from protocol.identity import NodeId

LOCK_FILE = "lock"
BACKLOG_MAX = 16_384  # writes that wait for the disk, beyond which it `is_full`
BACKLOG_SIZE_MAX = 256 * 1024 * 1024  # and their bytes
BACKLOG_WRITES_EVER = 8 * BACKLOG_MAX  # what a node writes of its own accord gets no further
TRANSACTION_WRITES_MAX = 1_024
TRANSACTION_SIZE_MAX = 8 * 1024 * 1024  # bytes, unless the first write alone has more
FOLD_SIZE = 2 * 1024 * 1024  # of the write-ahead log, folded when the writer has nothing else to do
FOLD_SIZE_MAX = 6 * 1024 * 1024  # folded before anything else is written
QUIET_S = 0.02  # without work; Raft's next message comes within a round trip
CLOSE_TIMEOUT_S = 10.0  # for the disk to take what waits
_TRANSACTION_SIZE = 2 * 4096  # at least, in the write-ahead log


@dataclass(frozen=True, slots=True)
class JournalStatus:
    """`waiting` writes are not confirmed, the oldest since `waiting_s`: if that is much more than a
    write takes, the disk does not answer."""

    waiting: int
    waiting_s: float
    transactions: int
    failure: JournalError | None


@dataclass(frozen=True, slots=True)
class _Write:
    sequence: int
    records: tuple[Record, ...]
    size: int
    done: Callable[[int], None]
    loop: asyncio.AbstractEventLoop
    since: float


class Journal:
    """The durable state of one node, in one data directory. `damage` says in one line what was
    wrong with it when it was opened, and is empty if nothing was."""

    def __init__(self, database: Database, lock: IO[str]) -> None:
        """Use `Journal.open`."""
        self.starts = database.starts  # this one included: the epoch of the node's member record
        self.damage = database.damage
        self.transactions = 0
        self.failure: JournalError | None = None
        self.on_failure: Callable[[JournalError], None] | None = None  # called in the loop, once
        self._database = database
        self._lock = lock
        self._backlog: deque[_Write] = deque()
        self._size_taken = 0  # written by the loop only
        self._size_written = 0  # written by the writer only
        self._in_hand: tuple[_Write, ...] = ()  # at the disk now
        self._unfolded = 0
        self._last_sequence: int | None = None
        self._closing = False
        self._asleep = False
        self._bell, self._ringer = os.pipe()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        state = "failed" if self.failure else "closed" if self._closing else "open"
        return f"Journal({self._database.path} {state}, {len(self._backlog)} waiting)"

    @classmethod
    def open(cls, data_dir: Path, cluster: str, node: NodeId) -> Journal:
        """Open the journal of `node`, or make it. A JournalError if the node cannot go on from it;
        then nothing was changed."""
        lock = _take_lock(data_dir)
        try:
            return cls(Database(data_dir, cluster, node), lock)
        except BaseException:
            lock.close()
            raise

    def load(self) -> Restored:
        """Everything that was durable when the journal was opened. To be called once, before
        `write`."""
        assert self._last_sequence is None
        return self._database.load()

    def read_part(self, blob: str, part: int) -> bytes | None:
        """A part of a blob that was kept; None if it is gone or damaged. May take as long as the
        disk does, and may be called in any thread."""
        return self._database.blobs.read(blob, part)

    def write(
        self, sequence: int, records: tuple[Record, ...], done: Callable[[int], None]
    ) -> None:
        """Hand records over and return at once; `done` is called in this thread's running loop
        when they are durable, with this sequence or a later one that became durable with it.

        Whoever can should write nothing while the journal `is_full`. A JournalError if somebody did
        for so long that there is no room for more, or if an earlier write has failed.
        """
        if self.failure is not None:
            raise self.failure
        assert not self._closing
        assert self._last_sequence is None or sequence > self._last_sequence
        if len(self._backlog) >= BACKLOG_WRITES_EVER:
            raise JournalUnwritable(
                f"{self._database.path}: {len(self._backlog)} writes wait for the disk, which has "
                f"not answered for {self.status().waiting_s:.0f} s: check the disk"
            )
        size = _size_of(records)
        loop = asyncio.get_running_loop()
        self._last_sequence = sequence
        self._size_taken += size
        self._backlog.append(_Write(sequence, records, size, done, loop, time.monotonic()))
        self._wake()

    @property
    def is_full(self) -> bool:
        """Whether so much waits for the disk that nothing should be taken on that adds to it."""
        return (
            len(self._backlog) >= BACKLOG_MAX
            or self._size_taken - self._size_written >= BACKLOG_SIZE_MAX
        )

    def status(self) -> JournalStatus:
        """How it stands with the disk, for whoever watches. From any thread."""
        in_hand, waiting = self._in_hand, len(self._backlog)
        try:
            oldest = in_hand[0] if in_hand else self._backlog[0]
            waiting_s = time.monotonic() - oldest.since
        except IndexError:
            waiting_s = 0.0
        return JournalStatus(waiting + len(in_hand), waiting_s, self.transactions, self.failure)

    def close(self) -> None:
        """Write what waits and close the file. Blocks, but not for ever: a JournalError if the disk
        does not take it in time, or if a write has failed."""
        self._closing = True
        self._wake()
        self._thread.join(CLOSE_TIMEOUT_S)
        if self._thread.is_alive():  # it still has the file: the lock stays until the process ends
            raise JournalUnwritable(
                f"{self._database.path}: the disk has not answered for {CLOSE_TIMEOUT_S:g} s; what "
                f"was not confirmed may be lost: check the disk"
            )
        if not self._lock.closed:
            os.close(self._bell)
            os.close(self._ringer)
            self._lock.close()
        if self.failure is not None:
            raise self.failure

    # -- the writer's thread ---------------------------------------------------------------------

    def _run(self) -> None:
        loop: asyncio.AbstractEventLoop | None = None
        try:
            while writes := self._next_writes():
                loop = writes[-1].loop
                if any(write.records for write in writes):
                    self._database.write([write.records for write in writes])
                    self.transactions += 1
                    self._unfolded += _TRANSACTION_SIZE + sum(write.size for write in writes)
                _confirm(writes)
                self._size_written += sum(write.size for write in writes)
                self._in_hand = ()
                if self._unfolded >= FOLD_SIZE_MAX:
                    self._fold()
        except JournalError as failure:
            self._fail(failure, loop)
        except Exception as fault:  # whoever waits must hear of a bug, too
            self._fail(JournalError(f"{self._database.path}: writer stopped by {fault!r}"), loop)
            raise
        finally:
            self._close_file(loop)

    def _next_writes(self) -> tuple[_Write, ...]:
        """The writes of the next transaction, waiting for one; empty when it is time to end."""
        while not self._backlog and not self._closing:
            self._sleep()
        count = self._count_of_transaction()
        # Seen by `status` before they are gone from the backlog, so that no write is ever unseen.
        self._in_hand = writes = tuple(self._backlog[at] for at in range(count))
        for _ in range(count):
            self._backlog.popleft()
        return writes

    def _count_of_transaction(self) -> int:
        """How many writes go together. What was asked for before a large snapshot does not wait for
        it: that one begins a transaction of its own."""
        most = min(len(self._backlog), TRANSACTION_WRITES_MAX)
        size = 0
        for at in range(most):
            size += self._backlog[at].size
            if size > TRANSACTION_SIZE_MAX:
                return max(1, at)
        return most

    def _sleep(self) -> None:
        """Until the bell rings, or a while if the time could be used."""
        self._asleep = True
        if self._backlog or self._closing:  # it came before it could see that the writer sleeps
            self._asleep = False
            return
        if self._unfolded >= FOLD_SIZE and not select.select([self._bell], [], [], QUIET_S)[0]:
            self._asleep = False
            self._fold()
            return
        os.read(self._bell, 1)

    def _wake(self) -> None:
        if self._asleep:
            self._asleep = False
            os.write(self._ringer, b"!")

    def _fold(self) -> None:
        self._database.fold()
        self._unfolded = 0

    def _close_file(self, loop: asyncio.AbstractEventLoop | None) -> None:
        try:
            self._database.close()
        except JournalError as failure:
            if self.failure is None:
                self._fail(failure, loop)

    def _fail(self, failure: JournalError, loop: asyncio.AbstractEventLoop | None) -> None:
        self.failure = failure
        if loop is not None:
            _call(loop, self._tell_failure)

    def _tell_failure(self) -> None:
        if self.on_failure is not None and self.failure is not None:
            self.on_failure(self.failure)


def _confirm(writes: tuple[_Write, ...]) -> None:
    """Call each `done` once with the highest of its sequences that follow one another."""
    for (done, loop), group in groupby(writes, key=lambda write: (write.done, write.loop)):
        _call(loop, done, max(write.sequence for write in group))


def _call(loop: asyncio.AbstractEventLoop, callback: Callable[..., None], *args: int) -> None:
    try:
        loop.call_soon_threadsafe(callback, *args)
    except RuntimeError:
        if not loop.is_closed():
            raise
        # Whoever waited is gone with the loop; what was written stays written.


def _size_of(records: tuple[Record, ...]) -> int:
    """Roughly the bytes that the records hold in memory."""
    size = 0
    for record in records:
        match record:
            case AppendEntries():
                size += sum(len(entry.data) for entry in record.entries)
            case KeepBatch():
                size += len(record.encoded)
            case KeepSnapshot():
                size += len(record.snapshot.state)
            case _:
                pass  # small
    return size


def _take_lock(data_dir: Path) -> IO[str]:
    """The lock file, locked and with this process's number in it. The kernel gives the lock back
    when the process ends, however it ends."""
    path = data_dir / LOCK_FILE
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = path.open("a+")
    except OSError as fault:
        raise JournalUnwritable(
            f"{path}: {fault.strerror}; give a data directory that this user may write"
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.seek(0)
        owner = lock.read(20).strip() or "?"
        lock.close()
        raise JournalInUse(
            f"{data_dir} is already in use by process {owner}: stop it, or give another data "
            f"directory"
        ) from None
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock
