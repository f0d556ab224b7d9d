"""A simulated disk: what was written is durable after a while, and a crash loses the rest."""

from __future__ import annotations

from dataclasses import dataclass, field

from protocol.effects import (
    AppendEntries,
    DropLog,
    HardState,
    KeepBatch,
    KeepImpairment,
    KeepMember,
    KeepSnapshot,
    Record,
    Restored,
    Snapshot,
)
from protocol.identity import NOBODY, NodeId
from protocol.messages import LogEntry, MemberRecord


@dataclass(slots=True)
class Disk:
    """The durable state of one node, as the journal of a real process keeps it."""

    hard_state: HardState = field(default_factory=lambda: HardState(0, NOBODY))
    snapshot: Snapshot | None = None
    entries: list[LogEntry] = field(default_factory=list)
    impaired: bool = False
    batches: dict[NodeId, list[bytes]] = field(default_factory=dict)
    members: dict[NodeId, MemberRecord] = field(default_factory=dict)
    starts: int = 0

    def write(self, records: tuple[Record, ...]) -> None:
        """Make the records durable."""
        for record in records:
            match record:
                case HardState():
                    self.hard_state = record
                case AppendEntries():
                    first = record.entries[0].index
                    del self.entries[max(0, first - self.first_index) :]
                    assert not self.entries or first == self.last_index + 1, "a hole"
                    assert self.entries or first == 1 or self.snapshot, "a hole"
                    self.entries.extend(record.entries)
                case KeepSnapshot():
                    self.snapshot = record.snapshot
                    kept = () if record.replace else self.entries
                    self.entries = [entry for entry in kept if entry.index >= record.keep_from]
                case DropLog():
                    self.snapshot = None
                    self.entries.clear()
                case KeepImpairment():
                    self.impaired = record.impaired
                case KeepBatch():
                    self.batches.setdefault(record.author, []).append(record.encoded)
                case KeepMember():
                    self.members[record.record.node] = record.record

    @property
    def first_index(self) -> int:
        """Of the entries kept, or of the next one."""
        if self.entries:
            return self.entries[0].index
        return self.snapshot.index + 1 if self.snapshot else 1

    @property
    def last_index(self) -> int:
        return self.first_index + len(self.entries) - 1

    def term_at(self, index: int) -> int | None:
        """The term of a kept entry, also of the last one that the snapshot stands for."""
        at = index - self.first_index
        if self.snapshot and index == self.snapshot.index:
            return self.snapshot.term
        return self.entries[at].term if 0 <= at < len(self.entries) else None

    def restored(self) -> Restored:
        """What a restarted node finds."""
        batches = [batch for kept in self.batches.values() for batch in kept]
        return Restored(
            self.hard_state,
            self.snapshot,
            tuple(self.entries),
            self.impaired,
            tuple(batches),
            tuple(self.members.values()),
        )
