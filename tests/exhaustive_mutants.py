"""`Raft` with one safety rule removed, for the exhaustive search to find. Each class says which."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from protocol.configuration import Configuration, _agreed, _majority
from protocol.effects import HardState
from protocol.identity import NOBODY, NodeId
from protocol.messages.agreement import AppendReply, LogEntry, OfRaft, VoteReply, VoteRequest
from protocol.raft import Raft, Role
from protocol.raft.elections import Elections
from protocol.raft.following import Following
from protocol.raft.leadership import Leadership
from protocol.turn import Turn


class VotesTwice(Raft):
    """Whoever asks gets the vote of the term."""

    def step(self, turn: Turn, sender: NodeId, message: OfRaft) -> None:
        is_asked = isinstance(message, VoteRequest) and message.term == self.term
        if is_asked and self.role is Role.FOLLOWER:
            self.vote = NOBODY
        super().step(turn, sender, message)


class VoteForgotten(Raft):
    """The vote is told but not made durable."""

    def step(self, turn: Turn, sender: NodeId, message: OfRaft) -> None:
        super().step(turn, sender, message)
        if not isinstance(message, VoteRequest):
            return
        turn.records = [
            replace(record, vote=NOBODY) if isinstance(record, HardState) else record
            for record in turn.records
        ]


class _Flatters(Elections):
    def _is_up_to_date(self, message: VoteRequest) -> bool:
        return True


class VotesForAnyLog(Raft):
    """The candidate's log is not looked at (5.4.1)."""

    def step(self, turn: Turn, sender: NodeId, message: OfRaft) -> None:
        self.elections.__class__ = _Flatters
        super().step(turn, sender, message)


class _CountsOldTerms(Leadership):
    def advance_commit(self, turn: Turn) -> None:
        raft = self.raft
        indexes = {node: progress.match_index for node, progress in self.progress.items()}
        indexes[raft.node] = raft.writes.durable
        agreed = raft.log.configuration.agreed_index(indexes)
        if agreed > raft.commit:
            raft.commit_to(turn, agreed)


class CommitsOldTerms(Raft):
    """Entries of earlier terms are committed by counting (5.4.2)."""

    def become_leader(self, turn: Turn) -> None:
        super().become_leader(turn)
        assert self.leadership is not None
        self.leadership.__class__ = _CountsOldTerms


class AcknowledgesEarly(Raft):
    """An Append is acknowledged before it is durable."""

    def step(self, turn: Turn, sender: NodeId, message: OfRaft) -> None:
        super().step(turn, sender, message)
        turn.before += [item for item in turn.after if isinstance(item[2], AppendReply)]
        turn.after = [item for item in turn.after if not isinstance(item[2], AppendReply)]


class _CountsItselfEarly(Leadership):
    def advance_commit(self, turn: Turn) -> None:
        self.raft.writes.durable = self.raft.log.last_index
        super().advance_commit(turn)


class CountsItselfEarly(Raft):
    """The leader's own copy counts before its disk has it."""

    def become_leader(self, turn: Turn) -> None:
        super().become_leader(turn)
        assert self.leadership is not None
        self.leadership.__class__ = _CountsItselfEarly


class CountsOldVotes(Raft):
    """A vote counts for whatever election is under way when it arrives."""

    def step(self, turn: Turn, sender: NodeId, message: OfRaft) -> None:
        if isinstance(message, VoteReply) and self.candidacy is not None:
            message = replace(message, asked=self.candidacy.term)
        super().step(turn, sender, message)


class _CutsAlways(Following):
    def _store_entries(self, turn: Turn, entries: Sequence[LogEntry]) -> None:
        if entries and self.raft.commit < entries[0].index <= self.raft.log.last_index:
            self.raft.truncate(turn, entries[0].index)
        super()._store_entries(turn, entries)


class TruncatesAlways(Raft):
    """The log is cut at every Append, in conflict or not (Figure 2, AppendEntries, rule 3)."""

    def step(self, turn: Turn, sender: NodeId, message: OfRaft) -> None:
        self.following.__class__ = _CutsAlways
        super().step(turn, sender, message)


class DropsOwn(Raft):
    """A leader that is refused drops its last entry (against Figure 3, leader append-only)."""

    def step(self, turn: Turn, sender: NodeId, message: OfRaft) -> None:
        super().step(turn, sender, message)
        is_own = self.leadership is not None and self.log.last_index > self.commit
        if is_own and isinstance(message, AppendReply) and not message.success:
            self.truncate(turn, self.log.last_index)


def one_majority(configuration: Configuration, nodes: Collection[NodeId]) -> bool:
    """Joint consensus that asks the new voters only (section 6): `Configuration.has_quorum`."""
    return _majority(configuration.voters, nodes)


def one_agreed_index(configuration: Configuration, indexes: Mapping[NodeId, int]) -> int:
    """The same for commitment: `Configuration.agreed_index`."""
    return _agreed(configuration.voters, indexes)
