"""What a simulated disk holds, as the journal of a real process keeps it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from random import Random

from protocol.effects import (
    AppendEntries,
    DropBatches,
    DropBlob,
    DropLog,
    ForgetMember,
    HardState,
    KeepBatch,
    KeepCollected,
    KeepImpairment,
    KeepLateness,
    KeepManifest,
    KeepMember,
    KeepPart,
    KeepProof,
    KeepSnapshot,
    Record,
    Restored,
    Snapshot,
)
from protocol.identity import NOBODY, NodeId
from protocol.messages.agreement import LogEntry
from protocol.messages.membership import MemberRecord
from protocol.messages.sharing import Collected, Forked
from protocol.store.batches import open_batch


class Rot(Enum):
    """What turns out to be illegible at the next start, and is left out. Never a node's own
    batches: without them its journal does not open."""

    MEMBERS = "members"
    BATCHES = "batches"  # the latest half of another author's: the journal notices, as below
    LOG = "log"  # of Raft's part: the journal notices, and the node does not vote for a while


@dataclass(slots=True)
class Disk:
    """The durable state of one node."""

    hard_state: HardState = field(default_factory=lambda: HardState(0, NOBODY))
    snapshot: Snapshot | None = None
    entries: list[LogEntry] = field(default_factory=list)
    impaired: bool = False
    late: bool = False
    rotted_from: int = 0  # the log reached so far before part of it was lost
    batches: dict[NodeId, dict[int, bytes | Collected]] = field(default_factory=dict)
    members: dict[NodeId, MemberRecord] = field(default_factory=dict)
    blobs: dict[str, tuple[bytes, dict[int, bytes]]] = field(default_factory=dict)
    proofs: dict[NodeId, Forked] = field(default_factory=dict)
    starts: int = 0

    @property
    def first_index(self) -> int:
        """Of the oldest log entry held; where nothing is held, of the one that would be."""
        if self.entries:
            return self.entries[0].index
        return self.snapshot.index + 1 if self.snapshot else 1

    @property
    def last_index(self) -> int:
        return self.first_index + len(self.entries) - 1

    def keeps(self, index: int, term: int | None = None) -> bool:
        """Whether the log entry at `index` (of this term, if one is given) is durable here, by
        itself or in the snapshot; or was acknowledged, and lost, by a node that knows that it may
        not vote: its acknowledgement counts, for nobody is elected with its vote."""
        if self.snapshot and index <= self.snapshot.index:
            return True
        if self.impaired and index <= self.rotted_from:
            return True
        if not self.first_index <= index <= self.last_index:
            return False
        return term is None or self.entries[index - self.first_index].term == term

    def term_at(self, index: int) -> int | None:
        """The term of an entry that is held, or of the last one that the snapshot stands for."""
        if self.snapshot and index == self.snapshot.index:
            return self.snapshot.term
        if self.first_index <= index <= self.last_index:
            return self.entries[index - self.first_index].term
        return None

    def write(self, records: tuple[Record, ...]) -> None:
        """Make the records durable."""
        for record in records:
            match record:
                case HardState():
                    self.hard_state = record
                case AppendEntries():
                    at = record.entries[0].index - self.first_index
                    assert 0 <= at <= len(self.entries), "a hole in the log on disk"
                    del self.entries[at:]
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
                    self.batches.setdefault(record.author, {})[record.first] = record.encoded
                case KeepCollected():
                    gap = record.collected
                    self.batches.setdefault(gap.author, {})[gap.first] = gap
                case KeepLateness():
                    self.late = record.late
                case KeepProof():
                    self.proofs[record.author] = record.proof
                case DropBatches():
                    for author, first in record.batches:
                        self._collect(author, first)
                case KeepMember():
                    self.members[record.record.node] = record.record
                case KeepManifest():
                    self.blobs[record.blob] = (record.encoded, {})
                case KeepPart():
                    self.blobs[record.blob][1][record.part] = record.data
                case DropBlob():
                    self.blobs.pop(record.blob, None)
                case ForgetMember():
                    self.members.pop(record.node, None)

    def restored(self) -> Restored:
        """What a restarted node finds."""
        kept = [each for rows in self.batches.values() for _, each in sorted(rows.items())]
        return Restored(
            self.hard_state,
            self.snapshot,
            tuple(self.entries),
            self.impaired,
            tuple(each for each in kept if not isinstance(each, Collected)),
            tuple(each for each in kept if isinstance(each, Collected)),
            self.late,
            tuple(self.members.values()),
            tuple(
                (blob, encoded, frozenset(parts)) for blob, (encoded, parts) in self.blobs.items()
            ),
            tuple(self.proofs.items()),
        )

    def _collect(self, author: NodeId, first: int) -> None:
        """A collected batch leaves its place behind."""
        encoded = self.batches[author][first]
        assert not isinstance(encoded, Collected)
        opened = open_batch(encoded)
        self.batches[author][first] = Collected(author, first, opened.last, opened.link)

    def decay(self, rot: Rot, own: NodeId, random: Random) -> None:
        """Lose what has become illegible. Of an author's batches the later ones, for what follows
        a hole in a history is of no use."""
        match rot:
            case Rot.MEMBERS:
                for node in random.sample(list(self.members), len(self.members) // 2):
                    del self.members[node]
            case Rot.BATCHES:
                authors = [author for author in self.batches if author != own]
                if authors:
                    self.late = True
                    kept = self.batches[random.choice(authors)]
                    for first in sorted(kept)[len(kept) // 2 :]:
                        del kept[first]
            case Rot.LOG:
                self.impaired = True
                self.rotted_from = self.last_index
                if random.random() < 0.5:
                    self.hard_state = HardState(0, NOBODY)
                if random.random() < 0.3:
                    self.snapshot = None
                    self.entries.clear()
                else:
                    del self.entries[random.randint(0, len(self.entries)) :]
                    if self.snapshot and self.last_index <= self.snapshot.index:
                        self.entries.clear()  # what ends before the snapshot is of no use
