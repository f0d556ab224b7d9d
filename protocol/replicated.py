"""The replicated state machine: the ledger of jobs, and the registers. Fed by the log alone.

Invariant: two nodes that applied the same prefix of the log are in the same state, whether they
applied the entries or took a snapshot of somebody who did; and their images are equal bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol import codec, ledger_image
from protocol.effects import Snapshot
from protocol.facts import Fact
from protocol.identity import NOBODY, NodeId
from protocol.ledger import JobState, Ledger, decode_leader
from protocol.messages.agreement import EntryKind, LogEntry
from protocol.registers import Contents, Registers, read_image


@dataclass(frozen=True, slots=True)
class _Image:
    ledger: bytes
    registers: bytes
    term: int = 0
    leader: NodeId = NOBODY


@dataclass(frozen=True, slots=True)
class _Read:
    jobs: list[JobState]
    registers: Contents
    term: int
    leader: NodeId


class Replicated:
    """See the module's text. `size_since` counts bytes applied since the last image. `leader` is
    who began `term`, the last one that an applied entry began."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.registers = Registers()
        self.term = 0
        self.leader = NOBODY
        self.image_size = 0
        self.entries_since = 0
        self.size_since = 0
        self._checked: tuple[bytes, _Read] | None = None  # what `restore` is about to be asked for

    @property
    def applied(self) -> int:
        """Index of the last entry applied."""
        return self.ledger.applied

    def apply(self, entry: LogEntry) -> list[Fact]:
        """Apply the next committed entry: what follows from it."""
        self.entries_since += 1
        self.size_since += len(entry.data)
        if entry.kind is EntryKind.NOOP:
            self.term, self.leader = entry.term, decode_leader(entry.data)
        facts = self.ledger.apply(entry, self.leader if entry.term == self.term else NOBODY)
        if entry.kind is EntryKind.BATCH:
            facts += self.registers.apply_batch(entry.index, entry.data)
        elif entry.kind is EntryKind.SESSION:
            facts += self.registers.open_session(entry.index, entry.data)
        return facts

    def image(self) -> bytes:
        """Everything, for a snapshot."""
        image = codec.pack_value(
            _Image(
                ledger_image.image_of(self.ledger), self.registers.image(), self.term, self.leader
            )
        )
        self._imaged(len(image))
        return image

    def restore(self, snapshot: Snapshot) -> None:
        """Be what the snapshot says. RemoteProtocolError if it says nothing, and then nothing has
        changed."""
        self.check(snapshot.state)
        assert self._checked is not None
        read, self._checked = self._checked[1], None
        self.registers.take(read.registers)
        ledger_image.restore(self.ledger, read.jobs, snapshot.index)
        self.term, self.leader = read.term, read.leader
        self._imaged(len(snapshot.state))

    def check(self, state: bytes) -> None:
        """RemoteProtocolError if `restore` could not take this state. What was read is kept, for
        `restore` mostly follows, and a state may be large."""
        if self._checked is None or self._checked[0] is not state:
            image = codec.unpack_value(_Image, state)
            jobs = ledger_image.jobs_of(image.ledger)
            registers = read_image(image.registers)
            self._checked = state, _Read(jobs, registers, image.term, image.leader)

    def restart(self) -> None:
        """Begin with another log."""
        self.ledger.restart()
        self.registers.restart()
        self.term, self.leader = 0, NOBODY
        self._imaged(0)

    def _imaged(self, size: int) -> None:
        self.image_size = size
        self.entries_since = self.size_since = 0
