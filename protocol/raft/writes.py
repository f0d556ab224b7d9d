"""What a node has asked its disk for and has no answer to yet.

Writes become durable in their order, and the host says up to which sequence. A write holds the log
up to some index, as it was when the write was asked for. Entries that take the place of others
since are proven by no older write (the ABA problem of asynchronous writes).

A disk that does not answer for a while is taken for hung. A snapshot may take longer than that to
be written, and so may whatever waits behind it: how much longer follows from its size.

Invariant: the log up to `durable` is on the disk.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from protocol.clocks import SECOND, Nanoseconds
from protocol.config import RaftConfig
from protocol.effects import KeepSnapshot, Record
from protocol.turn import Turn


@dataclass(slots=True)
class _Write:
    """Something on its way to the disk: the log up to `last_index` if it holds entries. `takes`:
    so long for its size alone. `due_at`: then it should be done, with all before it."""

    sequence: int
    last_index: int
    since: Nanoseconds
    takes: Nanoseconds
    due_at: Nanoseconds


class Writes:
    """See the module's text."""

    def __init__(self, durable: int, config: RaftConfig) -> None:
        self.durable = durable
        self.config = config
        self._waiting: deque[_Write] = deque()

    def persist(self, turn: Turn, record: Record, last_index: int = 0) -> None:
        """Make a record durable, and remember since when the disk owes an answer."""
        turn.persist(record)
        last = self._waiting[-1] if self._waiting else None
        if last is None or last.sequence != turn.sequence:
            due_at = turn.now if last is None else max(turn.now, last.due_at)
            last = _Write(turn.sequence, last_index, turn.now, 0, due_at)
            self._waiting.append(last)
        last.last_index = max(last.last_index, last_index)
        if isinstance(record, KeepSnapshot):
            takes = len(record.snapshot.state) * SECOND // self.config.disk_rate_min
            last.takes += takes
            last.due_at += takes

    def persisted(self, now: Nanoseconds, sequence: int) -> None:
        """Everything up to this persist sequence is durable."""
        spare = 0
        while self._waiting and self._waiting[0].sequence <= sequence:
            write = self._waiting.popleft()
            self.durable = max(self.durable, write.last_index)
            spare = write.due_at - now
        if spare > 0:
            self._be_early(now)

    def _be_early(self, now: Nanoseconds) -> None:
        """A snapshot was written faster than it had to be: what is behind it is due the earlier."""
        due_at = now
        for write in self._waiting:
            due_at = max(due_at, write.since) + write.takes
            write.due_at = min(write.due_at, due_at)

    def forget_above(self, last_index: int) -> None:
        """What is on its way to the disk proves nothing about entries above `last_index`: others
        have taken their place."""
        self.durable = min(self.durable, last_index)
        for write in self._waiting:
            write.last_index = min(write.last_index, last_index)

    def waiting_since(self) -> Nanoseconds | None:
        """When the oldest write that is not durable yet was asked for; None if there is none."""
        return self._waiting[0].since if self._waiting else None

    def is_stalled(self, now: Nanoseconds) -> bool:
        """Whether the disk owes an answer for so long that others should lead."""
        return bool(self._waiting) and now - self._waiting[0].due_at > self.config.disk_stall_ns

    def renumber(self, by: int) -> None:
        """Move all sequences down, for a host that counts from the oldest that waits."""
        for write in self._waiting:
            write.sequence -= by
