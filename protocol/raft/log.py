"""The replicated log in memory, and the configurations found in it.

Invariant: indexes are 1, 2, 3, ... without a gap and terms never decrease along them. The
configuration in force is the latest in the log, committed or not (thesis, section 4.1).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from protocol import codec
from protocol.codec import FRAME_SIZE_MAX
from protocol.identity import NodeId
from protocol.messages import EntryKind, LogEntry

ENTRY_SIZE_MAX = FRAME_SIZE_MAX - 1024 * 1024  # bytes of data: an Append must fit into a frame
ORIGIN_SIZE = 8  # bytes
ENTRY_OVERHEAD = 24  # bytes that an entry costs on the wire beside its data


@dataclass(frozen=True, slots=True)
class Configuration:
    """Who votes. While `outgoing` is not empty, both sets must agree: joint consensus
    (thesis, section 4.3)."""

    voters: tuple[NodeId, ...]
    outgoing: tuple[NodeId, ...] = ()

    @property
    def members(self) -> tuple[NodeId, ...]:
        """Everybody in either set, sorted."""
        return tuple(sorted({*self.voters, *self.outgoing}))

    def __contains__(self, node: object) -> bool:
        return node in self.voters or node in self.outgoing

    def has_quorum(self, nodes: Collection[NodeId]) -> bool:
        """Whether `nodes` hold a majority of each set."""
        return _majority(self.voters, nodes) and (
            not self.outgoing or _majority(self.outgoing, nodes)
        )

    def agreed_index(self, indexes: Mapping[NodeId, int]) -> int:
        """The highest index that a majority of each set has reached."""
        agreed = _agreed(self.voters, indexes)
        return min(agreed, _agreed(self.outgoing, indexes)) if self.outgoing else agreed


def _majority(voters: tuple[NodeId, ...], nodes: Collection[NodeId]) -> bool:
    return sum(voter in nodes for voter in voters) > len(voters) // 2


def _agreed(voters: tuple[NodeId, ...], indexes: Mapping[NodeId, int]) -> int:
    reached = sorted((indexes.get(voter, 0) for voter in voters), reverse=True)
    return reached[len(voters) // 2]


NO_CONFIGURATION = Configuration(())


class RaftLog:
    """Entries 1..last_index with their terms."""

    def __init__(self, entries: Iterable[LogEntry] = ()) -> None:
        self._origin = b""
        self._entries: list[LogEntry] = []
        self._configurations: list[tuple[int, Configuration]] = []
        self.extend(entries)

    @property
    def origin(self) -> bytes:
        """What tells this log from one that was founded apart: a digest of its first entry, which
        names its founder. Empty while the log is."""
        return self._origin

    @property
    def is_settled(self) -> bool:
        """Whether anything is lost with it: a command, or what other voters were promised."""
        return any(len(found.members) > 1 for _, found in self._configurations) or any(
            entry.kind is EntryKind.COMMAND for entry in self._entries
        )

    @property
    def last_index(self) -> int:
        return len(self._entries)

    @property
    def last_term(self) -> int:
        return self._entries[-1].term if self._entries else 0

    @property
    def configuration(self) -> Configuration:
        """The latest in the log."""
        return self._configurations[-1][1] if self._configurations else NO_CONFIGURATION

    @property
    def configuration_index(self) -> int:
        return self._configurations[-1][0] if self._configurations else 0

    def term_at(self, index: int) -> int | None:
        """The term of the entry at `index`; 0 before the first; None beyond the end."""
        if index == 0:
            return 0
        if 1 <= index <= len(self._entries):
            return self._entries[index - 1].term
        return None

    def entry(self, index: int) -> LogEntry:
        return self._entries[index - 1]

    def slice(self, first: int, size_max: int, last: int | None = None) -> tuple[LogEntry, ...]:
        """Entries from `first` within `size_max` bytes; at least one if there is one."""
        end = len(self._entries) if last is None else min(last, len(self._entries))
        size = 0
        for at in range(first - 1, end):
            size += len(self._entries[at].data) + ENTRY_OVERHEAD
            if size > size_max and at > first - 1:
                return tuple(self._entries[first - 1 : at])
        return tuple(self._entries[first - 1 : end])

    def first_index_of_term(self, index: int) -> int:
        """The first index of the run of equal terms that `index` lies in (fast backtracking,
        Raft paper, end of section 5.3)."""
        term = self.term_at(index)
        while index > 1 and self._entries[index - 2].term == term:
            index -= 1
        return index

    def extend(self, entries: Iterable[LogEntry]) -> None:
        """Append entries that follow the last one."""
        for entry in entries:
            assert entry.index == self.last_index + 1, "a gap in the log"
            assert entry.term >= self.last_term, "terms must not decrease"
            if not self._entries:
                self._origin = hashlib.sha256(entry.data).digest()[:ORIGIN_SIZE]
            self._entries.append(entry)
            if entry.kind is EntryKind.VOTERS:
                configuration = codec.unpack_value(Configuration, entry.data)
                self._configurations.append((entry.index, configuration))

    def truncate(self, index: int) -> None:
        """Drop the entries from `index` on."""
        del self._entries[index - 1 :]
        if not self._entries:
            self._origin = b""
        while self._configurations and self._configurations[-1][0] >= index:
            self._configurations.pop()
