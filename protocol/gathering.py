"""The team's commands on their way into a leader's log: where there are many, they go in together.

An entry costs every node a message, a write to the disk and a decision, whatever its size. So what
comes within `gather_ns` of the last ones waits for the rest of that time; what comes alone, does
not. Clients' writes are batched by their clerks (see `Clerk`), and do not come here.

Invariant: what waits is a proposal, and may get lost; who made it looks whether it came true.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TypeAlias

from protocol.clocks import Nanoseconds
from protocol.config import RaftConfig
from protocol.errors import Busy, NotLeader
from protocol.messages.agreement import EntryKind, LogEntry
from protocol.raft import Raft
from protocol.turn import Turn

_Proposal: TypeAlias = tuple[EntryKind, bytes]


class Gathering:
    """What a leader is about to append, and has appended and not seen committed."""

    def __init__(self, raft: Raft, config: RaftConfig) -> None:
        self.raft = raft
        self.config = config
        self.due_at: Nanoseconds | None = None
        self._waiting: dict[_Proposal, None] = {}  # in the order in which they came
        self._uncommitted: set[_Proposal] = set()
        self._not_before: Nanoseconds = -(2**62)

    def add(self, turn: Turn, kind: EntryKind, data: bytes) -> None:
        """Append a command now or soon, unless it is on its way already."""
        proposal = (kind, data)
        if proposal in self._waiting or proposal in self._uncommitted:
            return
        if len(self._waiting) < self.config.uncommitted_max:
            self._waiting[proposal] = None
        self.due_at = self._not_before
        self.flush(turn)

    def flush(self, turn: Turn) -> None:
        """Append what is due."""
        if self.due_at is None or turn.now < self.due_at:
            return
        self.due_at, self._not_before = None, turn.now + self.config.gather_ns
        proposals, self._waiting = list(self._waiting), {}
        with suppress(NotLeader, Busy):  # then they are lost
            self._uncommitted.update(self.raft.propose_all(turn, proposals))

    def committed(self, entry: LogEntry) -> None:
        """It is in the log for good: to propose it once more would be a new wish."""
        self._uncommitted.discard((entry.kind, entry.data))

    def forget(self) -> None:
        """Another leader, or another log: nothing is on its way."""
        self._waiting.clear()
        self._uncommitted.clear()
        self.due_at = None
