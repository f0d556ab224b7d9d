"""The replicated log in memory: what is kept after the last snapshot, and the configurations in it.

Invariants: the entries held are first_index, first_index + 1, ... without a gap; terms never
decrease along them; the snapshot covers everything before them. The configuration in force is the
latest in the log, committed or not (thesis, section 4.1). `chain_at` is a hash chain over all
entries ever appended, so that two logs are compared by 16 bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from struct import Struct

from protocol import codec
from protocol.configuration import NO_CONFIGURATION, Configuration
from protocol.effects import Snapshot
from protocol.identity import NodeId
from protocol.messages.agreement import EntryKind, LogEntry

ORIGIN_SIZE = 8  # bytes
EPOCH_SIZE = 2
MARK_SIZE = 6
CHAIN_SIZE = 16  # bytes
ENTRY_OVERHEAD = 24  # bytes that an entry costs on the wire beside its data
_HEAD = Struct(">QQB")


def epoch_of(identity: bytes) -> int:
    """How often the log of this identity has been rescued."""
    return int.from_bytes(identity[ORIGIN_SIZE : ORIGIN_SIZE + EPOCH_SIZE], "big")


def link(chain: bytes, entry: LogEntry) -> bytes:
    """The hash chain after `entry`, if it is `chain` before."""
    head = _HEAD.pack(entry.index, entry.term, entry.kind.value)
    return hashlib.sha256(chain + head + entry.data).digest()[:CHAIN_SIZE]


class RaftLog:
    """Entries first_index..last_index with their terms, after a snapshot or from the beginning."""

    def __init__(self, entries: Iterable[LogEntry] = (), snapshot: Snapshot | None = None) -> None:
        self.snapshot = snapshot
        self.first_index = 1
        self._origin = b""
        self._marks: list[tuple[int, bytes]] = []  # where an epoch began, and what tells it apart
        self._identity = b""
        self._entries: list[LogEntry] = []
        self._chains: list[bytes] = []
        self._base_term = 0  # of the entry before the first
        self._base_chain = b""
        self._size = 0  # bytes of data held
        self._configurations: list[tuple[int, Configuration]] = []
        self._read_entries(list(entries))

    def _read_entries(self, entries: list[LogEntry]) -> None:
        """What a disk kept: entries that go on after the snapshot, or overlap it. Those before the
        end of the snapshot have no chain to be had, and are of no use but to slow followers."""
        snapshot = self.snapshot
        if snapshot is not None:
            self._stand_on(snapshot)
            entries = [entry for entry in entries if entry.index > snapshot.index]
        self.extend(entries)

    def _stand_on(self, snapshot: Snapshot) -> None:
        self.first_index = snapshot.index + 1
        self._origin = snapshot.origin[:ORIGIN_SIZE]
        mark = snapshot.origin[ORIGIN_SIZE:]
        self._marks = [(snapshot.index, mark)] if mark else []
        self._base_term, self._base_chain = snapshot.term, snapshot.chain
        self._configurations = [(snapshot.configuration_index, snapshot.configuration)]
        self._identify()

    # -- reading ---------------------------------------------------------------------------------

    @property
    def origin(self) -> bytes:
        """What tells this log from one that was founded apart: a digest of its first entry, which
        names its founder. Empty while the log is."""
        return self._origin

    @property
    def lineage(self) -> bytes:
        """The origin, and what tells the epoch from one with the same number that was begun apart:
        the hash chain after its first entry, which names the rescuer."""
        return self._origin + self._mark()

    @property
    def identity(self) -> bytes:
        """The lineage, with the number of the epoch that the latest configuration is of: what two
        nodes must have in common before terms and indexes mean the same to them. Empty while the
        log is."""
        return self._identity

    def _mark(self) -> bytes:
        return self._marks[-1][1] if self._marks else b""

    def _identify(self) -> None:
        epoch = self.configuration.epoch.to_bytes(EPOCH_SIZE, "big")
        self._identity = self._origin + epoch + self._mark() if self._origin else b""

    @property
    def is_settled(self) -> bool:
        """Whether anything is lost with it: a command, or what other voters were promised."""
        return (
            self.snapshot is not None
            or any(len(found.members) > 1 for _, found in self._configurations)
            or any(entry.kind not in (EntryKind.NOOP, EntryKind.VOTERS) for entry in self._entries)
        )

    @property
    def snapshot_index(self) -> int:
        return self.snapshot.index if self.snapshot else 0

    @property
    def last_index(self) -> int:
        return self.first_index + len(self._entries) - 1

    @property
    def last_term(self) -> int:
        return self._entries[-1].term if self._entries else self._base_term

    @property
    def size(self) -> int:
        """Bytes of data in the entries held."""
        return self._size

    @property
    def configuration(self) -> Configuration:
        """The latest in the log."""
        return self._configurations[-1][1] if self._configurations else NO_CONFIGURATION

    @property
    def configuration_index(self) -> int:
        return self._configurations[-1][0] if self._configurations else 0

    def configuration_at(self, index: int) -> tuple[int, Configuration]:
        """The configuration that was in force at `index`, and where it lies."""
        for at, found in reversed(self._configurations):
            if at <= index:
                return at, found
        return 0, NO_CONFIGURATION

    def is_voted_out_above(self, index: int, node: NodeId) -> bool:
        """Whether `node` votes by the configuration at `index`, or by one after it but the last."""
        if self.configuration_index <= index:
            return False
        for at, found in reversed(self._configurations[:-1]):
            if node in found:
                return True
            if at <= index:
                break
        return False

    def term_at(self, index: int) -> int | None:
        """The term of the entry at `index`; 0 before the first one ever; None where that is not
        known: beyond the end, or compacted away."""
        at = index - self.first_index
        if 0 <= at < len(self._entries):
            return self._entries[at].term
        return self._base_term if at == -1 else None

    def chain_at(self, index: int) -> bytes | None:
        """The hash chain after the entry at `index`; None where that is not known."""
        at = index - self.first_index
        if 0 <= at < len(self._chains):
            return self._chains[at]
        return self._base_chain if at == -1 else None

    def entry(self, index: int) -> LogEntry:
        assert index >= self.first_index, "compacted away"
        return self._entries[index - self.first_index]

    def slice(self, first: int, size_max: int, last: int | None = None) -> tuple[LogEntry, ...]:
        """Entries from `first` within `size_max` bytes; at least one if there is one."""
        assert first >= self.first_index, "compacted away"
        begin = first - self.first_index
        end = len(self._entries)
        if last is not None:
            end = min(end, last - self.first_index + 1)
        size = 0
        for at in range(begin, end):
            size += len(self._entries[at].data) + ENTRY_OVERHEAD
            if size > size_max and at > begin:
                return tuple(self._entries[begin:at])
        return tuple(self._entries[begin:end])

    def first_index_of_term(self, index: int) -> int:
        """The first index, as far as is known, of the run of equal terms that `index` lies in (fast
        backtracking; paper, end of section 5.3)."""
        term = self.term_at(index)
        while index > self.first_index and self._entries[index - 1 - self.first_index].term == term:
            index -= 1
        return index

    # -- changing --------------------------------------------------------------------------------

    def extend(self, entries: Iterable[LogEntry]) -> None:
        """Append entries that follow the last one."""
        chain = self._chains[-1] if self._chains else self._base_chain
        for entry in entries:
            assert entry.index == self.last_index + 1, "a gap in the log"
            assert entry.term >= self.last_term, "terms must not decrease"
            if entry.index == 1:
                self._origin = hashlib.sha256(entry.data).digest()[:ORIGIN_SIZE]
                self._identify()
            chain = link(chain, entry)
            self._entries.append(entry)
            self._chains.append(chain)
            self._size += len(entry.data)
            if entry.kind is EntryKind.VOTERS:
                configuration = codec.unpack_value(Configuration, entry.data)
                if configuration.epoch > self.configuration.epoch:
                    self._marks.append((entry.index, chain[:MARK_SIZE]))
                self._configurations.append((entry.index, configuration))
                self._identify()

    def truncate(self, index: int) -> None:
        """Drop the entries from `index` on."""
        assert index >= self.first_index, "what a snapshot covers is committed"
        at = index - self.first_index
        self._size -= sum(len(entry.data) for entry in self._entries[at:])
        del self._entries[at:]
        del self._chains[at:]
        if index == 1:
            self._origin = b""
        while self._configurations and self._configurations[-1][0] >= index:
            self._configurations.pop()
        while self._marks and self._marks[-1][0] >= index:
            self._marks.pop()
        self._identify()

    def compact(self, snapshot: Snapshot, keep_from: int) -> None:
        """A snapshot stands for all up to its index; entries below `keep_from` go."""
        assert self.snapshot_index < snapshot.index <= self.last_index
        assert keep_from <= snapshot.index + 1
        self.snapshot = snapshot
        count = keep_from - self.first_index
        if count <= 0:
            return
        self._base_term = self._entries[count - 1].term
        self._base_chain = self._chains[count - 1]
        self._size -= sum(len(entry.data) for entry in self._entries[:count])
        del self._entries[:count]
        del self._chains[:count]
        self.first_index = keep_from
        in_force = self.configuration_at(keep_from - 1)
        later = [found for found in self._configurations if found[0] >= keep_from]
        self._configurations = ([in_force] if in_force[0] else []) + later

    def install(self, snapshot: Snapshot) -> None:
        """Stand on a snapshot from elsewhere; every entry goes."""
        self.snapshot = snapshot
        self._entries.clear()
        self._chains.clear()
        self._size = 0
        self._stand_on(snapshot)
