"""The snapshot that this node has taken or installed, and how it stands for a part of the log
(paper, section 7). How one arrives in parts is in `Following`; how it is sent, in `Leadership`.

Invariant: a snapshot stands only for what is committed.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from protocol import codec
from protocol.effects import KeepSnapshot, Snapshot
from protocol.facts.agreement import LogCompacted
from protocol.raft.progress import EncodedSnapshot
from protocol.turn import Turn

if TYPE_CHECKING:
    from protocol.raft.core import Raft


class Snapshots:
    """See the module's text."""

    def __init__(self, raft: Raft) -> None:
        self.raft = raft
        self._encoded: EncodedSnapshot | None = None

    def compact(self, turn: Turn, index: int, state: bytes, trailing: int | None = None) -> None:
        """Let a snapshot of the state machine after `index` stand for the log up to there. Some
        entries before stay, for followers that are not far behind."""
        raft = self.raft
        assert raft.log.snapshot_index < index <= raft.commit
        snapshot = self.of_state(index, state)
        kept = raft.config.trailing_entries if trailing is None else trailing
        keep_from = max(raft.log.first_index, index + 1 - kept)
        raft.log.compact(snapshot, keep_from)
        raft.writes.persist(turn, KeepSnapshot(snapshot, keep_from, replace=False))
        turn.report(LogCompacted(index, len(state)))

    def encoded(self) -> EncodedSnapshot:
        """The own snapshot as it travels, kept since more than one may want it."""
        snapshot = self.raft.log.snapshot
        assert snapshot is not None
        if self._encoded is None or self._encoded.index != snapshot.index:
            data = codec.pack_value(snapshot)
            self._encoded = EncodedSnapshot(snapshot.index, hashlib.sha256(data).digest(), data)
        return self._encoded

    def of_state(self, index: int, state: bytes) -> Snapshot:
        """`state` after the entry `index`, with what belongs to it."""
        log = self.raft.log
        term, chain = log.term_at(index), log.chain_at(index)
        assert term is not None
        assert chain is not None
        at, configuration = log.configuration_at(index)
        return Snapshot(index, term, configuration, at, chain, log.lineage, state)

    def forget(self) -> None:
        """Another log is followed from now on."""
        self._encoded = None
