"""What a node has asked its disk for and has no answer to yet.

Writes become durable in their order, and the host says up to which sequence. A write holds the log
up to some index, as it was when the write was asked for. Entries that take the place of others
since are proven by no older write (the ABA problem of asynchronous writes).

Invariant: the log up to `durable` is on the disk.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from protocol.clocks import Nanoseconds
from protocol.effects import Record
from protocol.turn import Turn


@dataclass(slots=True)
class _Write:
    """Something on its way to the disk: the log up to `last_index` if it holds entries."""

    sequence: int
    last_index: int
    since: Nanoseconds


class Writes:
    """See the module's text."""

    def __init__(self, durable: int, stall_ns: Nanoseconds) -> None:
        self.durable = durable
        self._stall_ns = stall_ns
        self._waiting: deque[_Write] = deque()

    def persist(self, turn: Turn, record: Record, last_index: int = 0) -> None:
        """Make a record durable, and remember since when the disk owes an answer."""
        turn.persist(record)
        if self._waiting and self._waiting[-1].sequence == turn.sequence:
            self._waiting[-1].last_index = max(self._waiting[-1].last_index, last_index)
        else:
            self._waiting.append(_Write(turn.sequence, last_index, turn.now))

    def persisted(self, sequence: int) -> None:
        """Everything up to this persist sequence is durable."""
        while self._waiting and self._waiting[0].sequence <= sequence:
            self.durable = max(self.durable, self._waiting.popleft().last_index)

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
        return bool(self._waiting) and now - self._waiting[0].since > self._stall_ns

    def renumber(self, by: int) -> None:
        """Move all sequences down, for a host that counts from the oldest that waits."""
        for write in self._waiting:
            write.sequence -= by
