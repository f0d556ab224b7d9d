"""The protocol with one rule removed at a time. Each class says which rule it breaks; the tests
show who notices."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from protocol import codec
from protocol.clocks import Nanoseconds
from protocol.configuration import Configuration, _agreed, _majority
from protocol.effects import HardState
from protocol.facts import Fact
from protocol.gossip import Gossip
from protocol.identity import NOBODY, NodeId, node_id_of
from protocol.ledger import AcceptResult, Ledger
from protocol.membership import Membership
from protocol.messages import (
    Append,
    AppendReply,
    LogEntry,
    MemberRecord,
    VoteRequest,
)
from protocol.raft import Raft, Role
from protocol.store import Batch, Entry, Gap, Merged, Store, Version, _entries_of, _Key
from protocol.turn import Turn

# -- Raft ---------------------------------------------------------------------------------------


class VoteForgotten(Raft):
    """The vote is told but not made durable."""

    def _receive_vote_request(self, turn: Turn, sender: NodeId, message: VoteRequest) -> None:
        super()._receive_vote_request(turn, sender, message)
        turn.records = [
            replace(record, vote=NOBODY) if isinstance(record, HardState) else record
            for record in turn.records
        ]


class VotesTwice(Raft):
    """Whoever asks gets the vote of the term."""

    def _receive_vote_request(self, turn: Turn, sender: NodeId, message: VoteRequest) -> None:
        if message.term == self.term and self.role is Role.FOLLOWER:
            self.vote = NOBODY
        super()._receive_vote_request(turn, sender, message)


class VotesForAnyLog(Raft):
    """The candidate's log is not looked at (5.4.1)."""

    def _receive_vote_request(self, turn: Turn, sender: NodeId, message: VoteRequest) -> None:
        flattered = replace(message, last_term=2**40)
        super()._receive_vote_request(turn, sender, flattered)


class CommitsOldTerms(Raft):
    """Entries of earlier terms are committed by counting (5.4.2)."""

    def _advance_commit(self, turn: Turn) -> None:
        indexes = {
            node: progress.match_index for node, progress in self.leadership.progress.items()
        }
        indexes[self.node] = self._durable
        agreed = self.log.configuration.agreed_index(indexes)
        if agreed > self.commit:
            self._commit_to(turn, agreed)
            self._finish_change(turn)


class CountsItselfEarly(Raft):
    """The leader's own copy counts before its disk has it."""

    def _advance_commit(self, turn: Turn) -> None:
        self._durable = self.log.last_index
        super()._advance_commit(turn)


class AcknowledgesEarly(Raft):
    """An Append is acknowledged before it is durable."""

    def _receive_append(self, turn: Turn, sender: NodeId, message: Append) -> None:
        super()._receive_append(turn, sender, message)
        turn.before += [item for item in turn.after if isinstance(item[2], AppendReply)]
        turn.after = [item for item in turn.after if not isinstance(item[2], AppendReply)]


class TruncatesAlways(Raft):
    """The log is cut at every Append, in conflict or not (Figure 2, AppendEntries, rule 3)."""

    def _store_entries(self, turn: Turn, entries: Sequence[LogEntry]) -> None:
        if entries and self.commit < entries[0].index <= self.log.last_index:
            self._truncate(turn, entries[0].index)
        super()._store_entries(turn, entries)


class CommitsWhatItIsTold(Raft):
    """A follower takes over the leader's commit index without a look at what matches."""

    def _receive_append(self, turn: Turn, sender: NodeId, message: Append) -> None:
        super()._receive_append(turn, sender, message)
        told = min(message.commit, self.log.last_index)
        if told > self.commit:
            self._commit_to(turn, told)


class NeverSticks(Raft):
    """A living leader protects nobody's term (thesis, 4.2.3)."""

    def _hears_leader(self, now: Nanoseconds) -> bool:
        return False


class SkipsPreVote(Raft):
    """The term is raised without asking first (thesis, 9.6)."""

    def campaign(self, turn: Turn) -> None:
        if self.is_voter:
            self.become_pre_candidate(turn)
            turn.after.clear()
            self.become_candidate(turn)


class NeverStepsDown(Raft):
    """A leader does not mind being alone (thesis, 6.2)."""

    def _check_quorum(self, turn: Turn) -> None:
        self._quorum_check_at = turn.now + self.config.election_timeout_ns


class IgnoresLowHints(Raft):
    """A refusal that names an index below the match index is taken for an old one."""

    def _receive_append_reply(self, turn: Turn, sender: NodeId, message: AppendReply) -> None:
        progress = self.leadership.progress.get(sender)
        if progress and not message.success and message.index <= progress.match_index:
            return
        super()._receive_append_reply(turn, sender, message)


def one_majority(configuration: Configuration, nodes: Collection[NodeId]) -> bool:
    """Joint consensus that asks the new voters only (section 6): `Configuration.has_quorum`."""
    return _majority(configuration.voters, nodes)


def one_agreed_index(configuration: Configuration, indexes: Mapping[NodeId, int]) -> int:
    """The same for commitment: `Configuration.agreed_index`."""
    return _agreed(configuration.voters, indexes)


# -- ledger -------------------------------------------------------------------------------------


class AcceptsTwice(Ledger):
    """What was accepted before is forgotten when a new result comes."""

    def _accept(self, command: AcceptResult, index: int) -> list[Fact]:
        found = self.slot(command.job, command.task, command.slot)
        if found:
            found[1].accepted = found[2].answer = None
        return super()._accept(command, index)


class IgnoresFences(Ledger):
    """A holder that was given up on is accepted all the same."""

    def _accept(self, command: AcceptResult, index: int) -> list[Fact]:
        found = self.slot(command.job, command.task, command.slot)
        if found:
            found[2].fence = 0
        return super()._accept(command, index)


class IgnoresNeeds(Ledger):
    """A result is accepted before what its task needs."""

    def _fault_of(self, job: object, task: object, command: AcceptResult) -> str:
        return ""


# -- store, gossip, membership -------------------------------------------------------------------


class AcceptsGaps(Store):
    """Entries whose predecessors are missing are taken."""

    def merge(self, encoded: bytes) -> Merged | None:
        try:
            return super().merge(encoded)
        except Gap:
            batch = codec.unpack_value(Batch, encoded)
            author = node_id_of(batch.public_key)
            held = self._authors.get(author)
            if held is None:
                Store._take(self, author, 1, (), b"", b"")
                held = self._authors[author]
            held.last = batch.first - 1
            return self._take(author, batch.first, _entries_of(batch), b"", encoded)


class LastArrivalWins(Store):
    """A key has one value: whichever came last."""

    def _apply(self, author: NodeId, sequence: int, entry: Entry) -> None:
        super()._apply(author, sequence, entry)
        version = Version(author, sequence, entry.value, entry.stamp)
        self._keys[entry.key] = _Key(self._keys[entry.key].seen, (version,))


class BelievesAnyBatch(Store):
    """Signatures of batches are not checked."""

    def merge(self, encoded: bytes) -> Merged | None:
        batch = codec.unpack_value(Batch, encoded)
        author = node_id_of(batch.public_key)
        if batch.first != self.last_of(author) + 1:
            return super().merge(encoded)
        link = self._next_link(author, batch.first, batch.body)
        return self._take(author, batch.first, _entries_of(batch), link, encoded)


class PushesEarly(Gossip):
    """An own batch is told before it is durable."""

    def flush(self, turn: Turn, members: Sequence[NodeId]) -> None:
        super().flush(turn, members)
        turn.before += turn.after
        turn.after.clear()


class BelievesAnybody(Membership):
    """Whoever brings a record is taken for its owner."""

    def _is_valid(self, record: MemberRecord) -> bool:
        return True
