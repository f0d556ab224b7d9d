"""The part of a node that does not lead: take what the leader sends, or what others teach.

    paper, Figure 2      AppendEntries, receiver implementation 1 to 5
    paper, section 7     InstallSnapshot, in parts that may come from several leaders
    beyond the council   committed entries from whoever has them, proven by the hash chain

Invariant: an answer that says "I have" leaves when it is durable; of a snapshot that is on its way
nothing is in force before all of it is here and its digest is right.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from protocol import codec
from protocol.clocks import Nanoseconds
from protocol.configuration import Configuration
from protocol.effects import KeepSnapshot, Snapshot
from protocol.errors import RemoteProtocolError
from protocol.facts.agreement import ChainBroken, SnapshotIllegible, SnapshotInstalled
from protocol.identity import NOBODY, NodeId
from protocol.messages.agreement import (
    Append,
    AppendReply,
    EntryKind,
    Learned,
    LearnRequest,
    LogEntry,
    SnapshotPart,
    SnapshotReply,
)
from protocol.raft.log import CHAIN_SIZE, MARK_SIZE, ORIGIN_SIZE, link
from protocol.raft.progress import NEVER
from protocol.turn import Turn

if TYPE_CHECKING:
    from protocol.raft.core import Raft

SNAPSHOT_SIZE_MAX = 1024 * 1024 * 1024  # bytes
ILLEGIBLE_MAX = 8  # remembered as such
REST_DOUBLINGS_MAX = 7  # of the time between two questions, where answers are of no use


@dataclass(slots=True)
class _Intake:
    """A snapshot of which only the beginning is here; the last of it came at `grown_at`."""

    index: int
    digest: bytes
    size: int
    grown_at: Nanoseconds
    asked_at: Nanoseconds = NEVER  # for more of it, of somebody who teaches
    data: bytearray = field(default_factory=bytearray)


class Following:
    """See the module's text."""

    def __init__(self, raft: Raft) -> None:
        self.raft = raft
        self._intake: _Intake | None = None
        self._illegible: list[tuple[int, bytes]] = []  # index and digest of what cannot be read
        self._rests = 0  # how often nothing came of asking, since something did
        self._rest_until: Nanoseconds = NEVER

    @property
    def cannot_read(self) -> bool:
        """Whether this node has met snapshots that it cannot read, and none since that it can."""
        return bool(self._illegible)

    def lesson_due_at(self) -> Nanoseconds | None:
        """When to ask somebody for the next part of a snapshot that others teach, for nothing has
        come; None if it is whole, or if the leader sends it."""
        if self._intake is None or self.raft.leadership is not None:
            return None
        asked_at = max(self._intake.grown_at, self._intake.asked_at)
        due_at = asked_at + self.raft.config.lesson_retry_ns
        return max(due_at, self.raft.elections.heard_until()) if self._has_leader() else due_at

    def forget(self) -> None:
        """Another log is followed from now on."""
        self._intake = None
        self._read_again()

    # -- what the leader sends -------------------------------------------------------------------

    def receive_append(self, turn: Turn, sender: NodeId, message: Append) -> None:
        raft = self.raft
        if not self._is_of_leader(turn, sender, message.term):
            self._reply(turn, sender, message, False, 0)
            return
        check_run(message.entries, message.previous_index, message.previous_term, message.term)
        raft.become_follower(turn, message.term, sender)
        matched = message.previous_index + len(message.entries)
        if not self._matches(message):
            hint = self._backtrack(message.previous_index)
            self._reply(turn, sender, message, False, hint)
            return
        self._store_entries(turn, message.entries)
        # The leader's commit index may lie beyond what this message proves to match.
        if min(message.commit, matched) > raft.commit:
            raft.commit_to(turn, min(message.commit, matched))
        if message.request:
            self._reply(turn, sender, message, True, matched)

    def _is_of_leader(self, turn: Turn, sender: NodeId, term: int) -> bool:
        """Whether the sender leads this term, or a later one."""
        if term == self.raft.term and self.raft.leadership is not None:
            raise RemoteProtocolError(f"{sender} claims to lead term {term} as well")
        return term >= self.raft.term

    def _reply(
        self, turn: Turn, sender: NodeId, message: Append, success: bool, index: int
    ) -> None:
        raft = self.raft
        turn.send_durable(
            sender,
            AppendReply(
                raft.term, message.term, message.request, success, index, raft.log.last_index
            ),
        )

    def _matches(self, message: Append) -> bool:
        """Whether the own log has the entry before (Figure 2, rule 2). What is compacted away here
        is committed, and every leader has it (leader completeness)."""
        log = self.raft.log
        if message.previous_index < log.first_index - 1:
            return True
        return log.term_at(message.previous_index) == message.previous_term

    def _backtrack(self, previous: int) -> int:
        """Where the leader shall try next (paper, end of section 5.3)."""
        log = self.raft.log
        if previous > log.last_index:
            return log.last_index + 1
        return max(log.first_index_of_term(previous), self.raft.commit + 1)

    def _store_entries(self, turn: Turn, entries: Sequence[LogEntry]) -> None:
        """Append what is new; truncate at the first conflict only (paper, Figure 2, rule 3)."""
        raft = self.raft
        for at, entry in enumerate(entries):
            term = raft.log.term_at(entry.index)
            if term == entry.term or entry.index < raft.log.first_index:
                continue
            if term is not None:
                raft.truncate(turn, entry.index)
            raft.append(turn, entries[at:])
            return

    # -- snapshots -------------------------------------------------------------------------------

    def receive_snapshot_part(self, turn: Turn, sender: NodeId, message: SnapshotPart) -> None:
        """One part, from the leader or (request 0) from somebody who teaches."""
        raft = self.raft
        taught = message.request == 0
        if taught:
            if self._is_led(turn.now):
                return
        elif not self._is_of_leader(turn, sender, message.term):
            self._reply_part(turn, sender, message, 0)
            return
        else:
            raft.become_follower(turn, message.term, sender)
        if message.index <= raft.commit:  # it would take us back
            if not taught:
                self._reply_part(turn, sender, message, message.size)
            return
        if (message.index, message.digest) in self._illegible:
            # No answer: a leader that sends it all the same sends less and less often.
            self._rest(turn.now)
            return
        had = len(self._intake.data) if self._intake is not None else 0
        intake = self._take_part(turn, message)
        if intake is None:
            return
        if len(intake.data) < intake.size:
            if taught:
                # A part that has come before asks for nothing, or repetitions would breed.
                if len(intake.data) != had:
                    self.ask(turn, sender)
            else:
                self._reply_part(turn, sender, message, len(intake.data))
            return
        self._intake = None
        snapshot = self._read(turn, sender, intake, self._open(intake))
        if snapshot is None:
            return
        self._install(turn, sender, snapshot)
        if not taught:
            self._reply_part(turn, sender, message, message.size)

    def _reply_part(self, turn: Turn, sender: NodeId, message: SnapshotPart, offset: int) -> None:
        reply = SnapshotReply(self.raft.term, message.term, message.request, message.index, offset)
        turn.send_durable(sender, reply)

    def _take_part(self, turn: Turn, message: SnapshotPart) -> _Intake | None:
        """Add the part if it is the next one. What is here of the same snapshot stays, whoever
        sent it. Another one takes its place if it is the leader's; a lesson does so only where
        nothing has come for a while, or two sources would begin anew for ever. None if not."""
        intake = self._intake
        if message.size > SNAPSHOT_SIZE_MAX or not message.size:
            raise RemoteProtocolError(f"a snapshot of {message.size} bytes")
        same = intake is not None and (intake.index, intake.digest, intake.size) == (
            message.index,
            message.digest,
            message.size,
        )
        if intake is None or not same:
            patience = self.raft.config.election_timeout_ns
            if intake and not message.request and turn.now - intake.grown_at < patience:
                return None
            intake = _Intake(message.index, message.digest, message.size, turn.now)
            self._intake = intake
        if message.offset == len(intake.data):
            intake.grown_at = turn.now
            intake.data += message.data[: intake.size - len(intake.data)]
        return intake

    def _open(self, intake: _Intake) -> bytes:
        data = bytes(intake.data)
        if hashlib.sha256(data).digest() != intake.digest:
            raise RemoteProtocolError("a snapshot whose digest is not that of its parts")
        return data

    def _read(self, turn: Turn, sender: NodeId, intake: _Intake, data: bytes) -> Snapshot | None:
        """What the bytes say; None if that is nothing to this node, perhaps since it runs another
        version. It would be nothing the next time too, so that is remembered."""
        try:
            snapshot = codec.unpack_value(Snapshot, data)
            check_snapshot(snapshot, intake.index)
            self.raft.check_state(snapshot.state)
        except RemoteProtocolError as fault:
            self._illegible = [*self._illegible[1 - ILLEGIBLE_MAX :], (intake.index, intake.digest)]
            self._rest(turn.now)
            turn.report(SnapshotIllegible(intake.index, sender, str(fault)))
            return None
        self._read_again()
        return snapshot

    def _rest(self, now: Nanoseconds) -> None:
        """Do not ask for a while, each time for twice as long."""
        rest = self.raft.config.lesson_retry_ns << min(self._rests, REST_DOUBLINGS_MAX)
        self._rest_until = now + rest
        self._rests += 1

    def _read_again(self) -> None:
        self._illegible.clear()
        self._rests, self._rest_until = 0, NEVER

    def _install(self, turn: Turn, sender: NodeId, snapshot: Snapshot) -> None:
        """Stand on the snapshot. Entries behind it stay if they follow from it (section 7: "retain
        log entries following it")."""
        raft = self.raft
        own_chain = raft.log.chain_at(snapshot.index)
        follows = own_chain == snapshot.chain and snapshot.index <= raft.log.last_index
        before = raft.log.configuration_index
        if snapshot.term > raft.term:
            raft.become_follower(turn, snapshot.term, NOBODY)
        if follows:
            raft.log.compact(snapshot, snapshot.index + 1)
        else:
            raft.log.install(snapshot)
            raft.writes.forget_above(raft.commit)
        record = KeepSnapshot(snapshot, snapshot.index + 1, replace=not follows)
        raft.writes.persist(turn, record, snapshot.index)
        turn.report(SnapshotInstalled(snapshot.index, len(snapshot.state), sender))
        raft.install(turn, snapshot, configuration_before=before)

    # -- teaching and learning, beyond the council ------------------------------------------------

    def receive_learn_request(self, turn: Turn, sender: NodeId, message: LearnRequest) -> None:
        """Teach what is committed here: entries, or parts of the snapshot where those are gone."""
        raft = self.raft
        if not 1 <= message.first <= raft.commit:
            return
        if message.first >= raft.log.first_index:
            self.teach(turn, sender, message.first)
        else:
            self._teach_snapshot(turn, sender, message)

    def _has_leader(self) -> bool:
        return self.raft.is_voter and bool(self.raft.leader)

    def _is_led(self, now: Nanoseconds) -> bool:
        """Whether this node needs no lessons: its leader sends all, or it leads itself, perhaps
        without being a voter any more. A leader that is not heard any more may have dropped this
        node: one that is impaired would never find out otherwise, since it does not campaign."""
        if self.raft.leadership is not None:
            return True
        return self._has_leader() and self.raft.elections.hears_leader(now)

    def teach(self, turn: Turn, node: NodeId, first: int) -> None:
        """Send committed entries from `first` on to a node that is no voter."""
        raft = self.raft
        entries = raft.log.slice(first, raft.config.append_size_max, raft.commit)
        if entries:
            chain = raft.log.chain_at(entries[-1].index)
            assert chain is not None
            turn.send(node, Learned(entries, raft.commit, chain))

    def _teach_snapshot(self, turn: Turn, node: NodeId, message: LearnRequest) -> None:
        raft = self.raft
        snapshot = raft.log.snapshot
        assert snapshot is not None
        encoded = raft.snapshots.encoded()
        offset = message.offset if message.snapshot == snapshot.index else 0
        if offset >= len(encoded.data):
            return
        data = encoded.data[offset : offset + raft.config.snapshot_part_size]
        part = SnapshotPart(
            raft.term, 0, encoded.index, encoded.digest, len(encoded.data), offset, data
        )
        turn.send(node, part)

    def receive_learned(self, turn: Turn, sender: NodeId, message: Learned) -> None:
        """Take committed entries from somebody who is not our leader. They are final: where the
        own log differs beyond the commit index, it gives way. They must follow the commit index
        without a gap, or own entries in between, which nobody confirmed, would pass for committed;
        and lead to the chain that is said to be everybody's.
        """
        raft = self.raft
        if self._is_led(turn.now):
            return
        entries = [entry for entry in message.entries if entry.index > raft.commit]
        if not entries:
            return
        if entries[0].index != raft.commit + 1:
            self.want(turn, sender)
            return
        check_run(entries, raft.commit, raft.log.term_at(raft.commit) or 0, entries[-1].term)
        chain = raft.log.chain_at(raft.commit)
        assert chain is not None
        for entry in entries:
            chain = link(chain, entry)
        if chain != message.chain:
            turn.report(ChainBroken(sender, entries[-1].index))
            return
        if entries[-1].term > raft.term:
            raft.become_follower(turn, entries[-1].term, NOBODY)
        self._store_entries(turn, entries)
        raft.commit_to(turn, entries[-1].index)
        if message.committed > raft.commit:
            self.want(turn, sender)

    def want(self, turn: Turn, node: NodeId) -> None:
        """Ask a node that is known to have what is lacking here, unless the last answers were of no
        use."""
        if turn.now >= self._rest_until:
            turn.send(node, self.lacking())

    def ask(self, turn: Turn, node: NodeId) -> None:
        """Ask a node for what is lacking here."""
        if self._intake is not None:
            self._intake.asked_at = turn.now
        turn.send(node, self.lacking())

    def lacking(self) -> LearnRequest:
        """What this node would have to be sent next."""
        first = self.raft.commit + 1
        if self._intake is None:
            return LearnRequest(first, 0, 0)
        return LearnRequest(first, self._intake.index, len(self._intake.data))


def check_run(
    entries: Sequence[LogEntry], previous_index: int, previous_term: int, term_max: int
) -> None:
    """Raise RemoteProtocolError unless the entries may follow (previous_index, previous_term)."""
    for entry in entries:
        if entry.index != previous_index + 1 or not previous_term <= entry.term <= term_max:
            raise RemoteProtocolError(f"entry {entry.index} of term {entry.term} is out of line")
        if entry.kind is EntryKind.VOTERS and not (
            codec.unpack_value(Configuration, entry.data).voters
        ):
            raise RemoteProtocolError("a configuration without voters")
        previous_index, previous_term = entry.index, entry.term


def check_snapshot(snapshot: Snapshot, index: int) -> None:
    """Raise RemoteProtocolError unless this can be the snapshot of the log up to `index`."""
    if snapshot.index != index or not 1 <= snapshot.configuration_index <= index:
        raise RemoteProtocolError(f"a snapshot of {snapshot.index} that should be of {index}")
    if len(snapshot.origin) not in (ORIGIN_SIZE, ORIGIN_SIZE + MARK_SIZE):
        raise RemoteProtocolError("a snapshot of a log that has no name")
    if len(snapshot.chain) != CHAIN_SIZE or not snapshot.configuration.voters:
        raise RemoteProtocolError("a snapshot without its chain or its voters")
