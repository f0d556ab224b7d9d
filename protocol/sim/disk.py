"""A simulated disk: what was written is durable after a while, and a crash loses the rest."""

from __future__ import annotations

from dataclasses import dataclass, field

from protocol.effects import AppendEntries, HardState, KeepBatch, KeepMember, Record, Restored
from protocol.identity import NOBODY, NodeId
from protocol.messages import LogEntry, MemberRecord


@dataclass(slots=True)
class Disk:
    """The durable state of one node, as the journal of a real process keeps it."""

    hard_state: HardState = field(default_factory=lambda: HardState(0, NOBODY))
    entries: list[LogEntry] = field(default_factory=list)
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
                    del self.entries[record.entries[0].index - 1 :]
                    assert len(self.entries) == record.entries[0].index - 1
                    self.entries.extend(record.entries)
                case KeepBatch():
                    self.batches.setdefault(record.author, []).append(record.encoded)
                case KeepMember():
                    self.members[record.record.node] = record.record

    def restored(self) -> Restored:
        """What a restarted node finds."""
        batches = [batch for kept in self.batches.values() for batch in kept]
        return Restored(
            self.hard_state, tuple(self.entries), tuple(batches), tuple(self.members.values())
        )
