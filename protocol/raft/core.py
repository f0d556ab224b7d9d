"""Raft: one leader, one log (Ongaro and Ousterhout 2014; section numbers "thesis" are Ongaro's).

Invariants (Figure 3 of the paper): election safety, leader append-only, log matching, leader
completeness, state machine safety. Kept here by: one vote per term, durable before it is told;
a leader commits only entries of its own term by counting (5.4.2); a follower truncates on
conflict only.

    from           event                                          to
    ------------   --------------------------------------------   -------------
    FOLLOWER       no leader for an election time-out             PRE_CANDIDATE
    PRE_CANDIDATE  a majority would vote for us (thesis, 9.6)     CANDIDATE, term + 1
    CANDIDATE      a majority voted for us                        LEADER
    CANDIDATE      no majority within an election time-out        PRE_CANDIDATE
    LEADER         no majority heard of for a time-out (6.2)      FOLLOWER
    any            a higher term, or this term's leader           FOLLOWER

This class does no IO and reads no clock: the host calls `receive`, `tick`, `persisted`,
`propose`, and finds in the turn what to do.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from random import Random

from protocol import codec
from protocol.clocks import Nanoseconds
from protocol.config import RaftConfig
from protocol.effects import AppendEntries, HardState, Restored
from protocol.errors import RemoteProtocolError
from protocol.facts import (
    EntryCommitted,
    LeaderElected,
    LogTruncated,
    RoleChanged,
    VoteGranted,
    VotersChanged,
)
from protocol.identity import NOBODY, NodeId
from protocol.messages import (
    Append,
    AppendReply,
    EntryKind,
    Learned,
    LearnRequest,
    LogEntry,
    VoteReply,
    VoteRequest,
)
from protocol.raft_log import ENTRY_SIZE_MAX, Configuration, RaftLog
from protocol.turn import Turn

TERM_MAX = 2**62


class Role(Enum):
    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre_candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


@dataclass(slots=True)
class Progress:
    """What a leader knows of one follower. While `probing`, one Append at a time feels for the
    place where the logs match; afterwards Appends are pipelined (thesis, 10.2.1)."""

    next_index: int
    match_index: int
    heard_at: Nanoseconds
    probing: bool = True
    waiting: bool = False  # a probe is on its way
    request: int = 0
    answered: int = 0


@dataclass(frozen=True, slots=True)
class RaftStatus:
    """A picture of the machine, for people and tests."""

    role: str
    term: int
    leader: NodeId
    vote: NodeId
    last_index: int
    commit: int
    voters: tuple[NodeId, ...]
    outgoing: tuple[NodeId, ...]


class Raft:
    """One node's part in the agreement. A node that is no voter follows by `learn` instead."""

    def __init__(
        self,
        node: NodeId,
        config: RaftConfig,
        random: Random,
        restored: Restored,
        now: Nanoseconds,
    ) -> None:
        self.node = node
        self.config = config
        self.random = random
        self.role = Role.FOLLOWER
        self.term = restored.hard_state.term
        self.vote = restored.hard_state.vote
        self.log = RaftLog(restored.entries)
        self.leader: NodeId = NOBODY
        self.commit = 0
        self._durable = self.log.last_index
        self._unstable: deque[tuple[int, int]] = deque()  # (persist sequence, last index)
        self._heard_leader_at: Nanoseconds | None = None
        self._election_at = now + self._draw_timeout()
        self._heartbeat_at: Nanoseconds = 0
        self._quorum_check_at: Nanoseconds = 0
        self._grants: set[NodeId] = set()
        self._progress: dict[NodeId, Progress] = {}

    def __repr__(self) -> str:
        return (
            f"<Raft {self.node[:6]} {self.role.value} term={self.term} leader={self.leader[:6]} "
            f"last={self.log.last_index} commit={self.commit}>"
        )

    # -- what the host may ask ----------------------------------------------------------------

    @property
    def is_voter(self) -> bool:
        return self.node in self.log.configuration

    def status(self) -> RaftStatus:
        configuration = self.log.configuration
        return RaftStatus(
            role=self.role.value,
            term=self.term,
            leader=self.leader,
            vote=self.vote,
            last_index=self.log.last_index,
            commit=self.commit,
            voters=configuration.voters,
            outgoing=configuration.outgoing,
        )

    def deadline(self) -> Nanoseconds | None:
        """When `tick` is due; None for a node that never campaigns."""
        if self.role is Role.LEADER:
            return min(self._heartbeat_at, self._quorum_check_at)
        return self._election_at if self.is_voter else None

    # -- inputs -------------------------------------------------------------------------------

    def found(self, turn: Turn) -> None:
        """Start a cluster of which this node is the only voter. Once in a cluster's life."""
        assert self.log.last_index == 0, "only an empty log can be founded"
        self.term = 1
        turn.persist(HardState(self.term, self.vote))
        data = codec.pack_value(Configuration((self.node,)))
        self._append(turn, (LogEntry(1, 1, EntryKind.VOTERS, data),))
        self.campaign(turn)

    def receive(
        self,
        turn: Turn,
        sender: NodeId,
        message: VoteRequest | VoteReply | Append | AppendReply | LearnRequest | Learned,
    ) -> None:
        """Take a message from another node. RemoteProtocolError if it breaks the protocol."""
        if isinstance(message, VoteRequest | VoteReply | Append | AppendReply):
            check_term(message.term)
        match message:
            case VoteRequest():
                self._receive_vote_request(turn, sender, message)
            case VoteReply():
                self._receive_vote_reply(turn, sender, message)
            case Append():
                self._receive_append(turn, sender, message)
            case AppendReply():
                self._receive_append_reply(turn, sender, message)
            case LearnRequest():
                self._receive_learn_request(turn, sender, message)
            case Learned():
                self._learn(turn, sender, message)

    def tick(self, turn: Turn) -> None:
        """A deadline may have come."""
        if self.role is Role.LEADER:
            if turn.now >= self._quorum_check_at:
                self._check_quorum(turn)
            if self.role is Role.LEADER and turn.now >= self._heartbeat_at:
                self._broadcast(turn, heartbeat=True)
        elif self.is_voter and turn.now >= self._election_at:
            self.campaign(turn)

    def persisted(self, turn: Turn, sequence: int) -> None:
        """Everything up to this persist sequence is durable."""
        while self._unstable and self._unstable[0][0] <= sequence:
            self._durable = max(self._durable, self._unstable.popleft()[1])
        if self.role is Role.LEADER:
            self._advance_commit(turn)

    def propose(self, turn: Turn, command: bytes) -> int | None:
        """Append a command if this node leads and has room: its index, else None."""
        if self.role is not Role.LEADER:
            return None
        assert len(command) <= ENTRY_SIZE_MAX, "an entry that fits no Append is never replicated"
        if self.log.last_index - self.commit >= self.config.uncommitted_max:
            return None
        return self._append_own(turn, EntryKind.COMMAND, command)

    def change_voters(self, turn: Turn, voters: tuple[NodeId, ...]) -> bool:
        """Begin the change to `voters` by joint consensus (thesis, 4.3); False if not now.

        One change at a time, and only after an entry of this term is committed: the rule that
        the single-server erratum taught (Ongaro, raft-dev 2015) costs nothing here either.
        """
        configuration = self.log.configuration
        ready = (
            self.role is Role.LEADER
            and not configuration.outgoing
            and self.log.configuration_index <= self.commit
            and self.log.term_at(self.commit) == self.term
        )
        if not ready or set(voters) == set(configuration.voters) or not voters:
            return False
        joint = Configuration(tuple(sorted(voters)), configuration.voters)
        self._append_own(turn, EntryKind.VOTERS, codec.pack_value(joint))
        return True

    def campaign(self, turn: Turn) -> None:
        """Ask whether we could win; only then raise the term (pre-vote, thesis 9.6)."""
        assert self.role is not Role.LEADER
        if not self.is_voter:
            return
        self.become_pre_candidate(turn)
        if self.log.configuration.has_quorum(self._grants):
            self.become_candidate(turn)

    def lose_leader(self, turn: Turn, node: NodeId) -> None:
        """Evidence from outside that `node` is gone: if it leads, do not wait the full time-out.

        The pre-vote still protects a living leader: others refuse while they hear from it.
        """
        if not node or node != self.leader or self.role is Role.LEADER:
            return  # also when a seed, which has no name yet, refuses a node without a leader
        self._set_leader(turn, NOBODY)
        self._heard_leader_at = None
        soon = turn.now + self.random.randrange(self.config.election_timeout_ns // 8)
        self._election_at = min(self._election_at, soon)

    # -- roles: the only places where the role changes ----------------------------------------

    def become_follower(self, turn: Turn, term: int, leader: NodeId) -> None:
        assert term >= self.term
        if term > self.term:
            self.term, self.vote = term, NOBODY
            turn.persist(HardState(term, NOBODY))
            self._set_leader(turn, NOBODY)
        if self.role is not Role.FOLLOWER:
            self.role = Role.FOLLOWER
            self._progress.clear()
            self._election_at = turn.now + self._draw_timeout()
            turn.report(RoleChanged(self.role.value, self.term))
        if leader:
            self._set_leader(turn, leader)
            self._heard_leader_at = turn.now
            self._election_at = turn.now + self._draw_timeout()

    def become_pre_candidate(self, turn: Turn) -> None:
        assert self.role is not Role.LEADER
        assert self.is_voter
        if self.role is not Role.PRE_CANDIDATE:
            self.role = Role.PRE_CANDIDATE
            turn.report(RoleChanged(self.role.value, self.term))
        self._set_leader(turn, NOBODY)
        self._heard_leader_at = None
        self._grants = {self.node}
        self._election_at = turn.now + self._draw_timeout()
        self._request_votes(turn, self.term + 1, pre=True)

    def become_candidate(self, turn: Turn) -> None:
        assert self.role is Role.PRE_CANDIDATE
        self.role = Role.CANDIDATE
        self.term, self.vote = self.term + 1, self.node
        turn.persist(HardState(self.term, self.vote))
        turn.report(RoleChanged(self.role.value, self.term))
        turn.report(VoteGranted(self.term, self.node))
        self._grants = {self.node}
        self._election_at = turn.now + self._draw_timeout()
        self._request_votes(turn, self.term, pre=False)
        if self.log.configuration.has_quorum(self._grants):
            self.become_leader(turn)

    def become_leader(self, turn: Turn) -> None:
        assert self.role is Role.CANDIDATE
        assert self.log.configuration.has_quorum(self._grants)
        self.role = Role.LEADER
        self._progress.clear()
        turn.report(RoleChanged(self.role.value, self.term))
        self._set_leader(turn, self.node)
        self._quorum_check_at = turn.now + self.config.election_timeout_ns
        self._heartbeat_at = turn.now
        # An entry of the own term commits all before it (thesis, 6.4; paper, 5.4.2).
        self._append_own(turn, EntryKind.NOOP, b"")

    # -- elections ----------------------------------------------------------------------------

    def _draw_timeout(self) -> Nanoseconds:
        timeout = self.config.election_timeout_ns
        return timeout + self.random.randrange(timeout)

    def _request_votes(self, turn: Turn, term: int, pre: bool) -> None:
        request = VoteRequest(term, self.log.last_index, self.log.last_term, pre)
        for voter in self.log.configuration.members:
            if voter != self.node:
                # The request says that our own vote is cast: that must be durable first.
                turn.send_durable(voter, request)

    def _hears_leader(self, now: Nanoseconds) -> bool:
        """Stickiness (thesis, 4.2.3): whoever heard a leader lately disturbs no term of it."""
        if self.role is Role.LEADER:
            return True
        heard = self._heard_leader_at
        return heard is not None and now - heard < self.config.election_timeout_ns

    def _receive_vote_request(self, turn: Turn, sender: NodeId, message: VoteRequest) -> None:
        up_to_date = (message.last_term, message.last_index) >= (
            self.log.last_term,
            self.log.last_index,
        )
        if message.term > self.term and self._hears_leader(turn.now):
            granted = False
        elif message.pre:
            granted = message.term > self.term and up_to_date
        else:
            if message.term > self.term:
                self.become_follower(turn, message.term, NOBODY)
            granted = message.term == self.term and self.vote in (NOBODY, sender) and up_to_date
            if granted and self.vote != sender:
                self.vote = sender
                turn.persist(HardState(self.term, self.vote))
                turn.report(VoteGranted(self.term, sender))
            if granted:
                self._election_at = turn.now + self._draw_timeout()
        turn.send_durable(sender, VoteReply(self.term, message.term, granted, message.pre))

    def _receive_vote_reply(self, turn: Turn, sender: NodeId, message: VoteReply) -> None:
        if message.term > self.term:
            self.become_follower(turn, message.term, NOBODY)
            return
        wanted = {
            Role.PRE_CANDIDATE: (self.term + 1, True),
            Role.CANDIDATE: (self.term, False),
        }.get(self.role)
        if not message.granted or (message.asked, message.pre) != wanted:
            return  # refused, or the answer to an older question
        self._grants.add(sender)
        if self.log.configuration.has_quorum(self._grants):
            if self.role is Role.PRE_CANDIDATE:
                self.become_candidate(turn)
            else:
                self.become_leader(turn)

    def _check_quorum(self, turn: Turn) -> None:
        """A leader that a majority does not answer steps down (thesis, 6.2)."""
        timeout = self.config.election_timeout_ns
        self._quorum_check_at = turn.now + timeout
        heard = {
            node
            for node, progress in self._progress.items()
            if turn.now - progress.heard_at < timeout
        }
        if not self.log.configuration.has_quorum(heard | {self.node}):
            self.become_follower(turn, self.term, NOBODY)
            self._set_leader(turn, NOBODY)

    def _set_leader(self, turn: Turn, leader: NodeId) -> None:
        if leader != self.leader:
            self.leader = leader
            turn.report(LeaderElected(self.term, leader))

    # -- replication: the leader's side ---------------------------------------------------------

    def _append_own(self, turn: Turn, kind: EntryKind, data: bytes) -> int:
        entry = LogEntry(self.log.last_index + 1, self.term, kind, data)
        self._append(turn, (entry,))
        self._broadcast(turn)
        return entry.index

    def _append(self, turn: Turn, entries: Sequence[LogEntry]) -> None:
        before = self.log.configuration_index
        self.log.extend(entries)
        turn.persist(AppendEntries(tuple(entries)))
        self._unstable.append((turn.sequence, self.log.last_index))
        if self.log.configuration_index != before:
            self._report_voters(turn)

    def _report_voters(self, turn: Turn) -> None:
        configuration = self.log.configuration
        turn.report(
            VotersChanged(
                self.log.configuration_index, configuration.voters, configuration.outgoing
            )
        )

    def _broadcast(self, turn: Turn, heartbeat: bool = False) -> None:
        for voter in self.log.configuration.members:
            if voter != self.node:
                progress = self._progress.get(voter)
                if progress is None:
                    progress = Progress(self.log.last_index, 0, turn.now)
                    self._progress[voter] = progress
                self._replicate(turn, voter, progress, heartbeat)
        if heartbeat:
            self._heartbeat_at = turn.now + self.config.heartbeat_ns

    def _replicate(
        self, turn: Turn, follower: NodeId, progress: Progress, heartbeat: bool = False
    ) -> None:
        """Send what the follower lacks, as far as the window allows; a heartbeat in any case."""
        sent = False
        while True:
            blocked = progress.waiting or (
                progress.request - progress.answered >= self.config.inflight_max
            )
            behind = progress.next_index <= self.log.last_index
            if (blocked or not behind) and (sent or not heartbeat):
                return
            previous = progress.next_index - 1
            entries = (
                self.log.slice(progress.next_index, self.config.append_size_max)
                if behind and not blocked
                else ()
            )
            progress.request += 1
            previous_term = self.log.term_at(previous)
            assert previous_term is not None
            turn.send(
                follower,
                Append(self.term, progress.request, previous, previous_term, entries, self.commit),
            )
            sent = True
            if progress.probing:
                progress.waiting = True
                return
            progress.next_index += len(entries)

    def _receive_append_reply(self, turn: Turn, sender: NodeId, message: AppendReply) -> None:
        if message.term > self.term:
            self.become_follower(turn, message.term, NOBODY)
            return
        progress = self._progress.get(sender)
        if self.role is not Role.LEADER or message.term < self.term or progress is None:
            return
        if message.request > progress.request:
            return  # the answer to a request from before this voter was removed and came back
        progress.heard_at = turn.now
        progress.answered = max(progress.answered, message.request)
        if message.success:
            if message.index > self.log.last_index:
                raise RemoteProtocolError(f"{sender} has entries that its leader never sent")
            progress.match_index = max(progress.match_index, message.index)
            progress.next_index = max(progress.next_index, progress.match_index + 1)
            progress.probing = progress.waiting = False
            self._advance_commit(turn)
        else:  # the hint may lie below what is known to match, and is then no older for that
            hint = min(message.index, self.log.last_index + 1)
            progress.next_index = max(hint, progress.match_index + 1)
            progress.probing, progress.waiting = True, False
        if self.role is Role.LEADER and sender in self._progress:
            self._replicate(turn, sender, progress)

    def _advance_commit(self, turn: Turn) -> None:
        indexes = {node: progress.match_index for node, progress in self._progress.items()}
        indexes[self.node] = self._durable
        agreed = self.log.configuration.agreed_index(indexes)
        # Only entries of the current term are committed by counting replicas (paper, 5.4.2).
        if agreed <= self.commit or self.log.term_at(agreed) != self.term:
            return
        self._commit_to(turn, agreed)
        self._finish_change(turn)
        if self.role is Role.LEADER:
            self._broadcast(turn, heartbeat=True)  # tell the commit at once: hand-on delay

    def _finish_change(self, turn: Turn) -> None:
        """After a committed joint configuration comes the new one; a leader that is no longer in
        it steps down once that is committed too (thesis, 4.2.2)."""
        configuration = self.log.configuration
        if self.log.configuration_index > self.commit:
            return
        if configuration.outgoing:
            final = Configuration(configuration.voters)
            self._append_own(turn, EntryKind.VOTERS, codec.pack_value(final))
        elif self.node not in configuration:
            self._broadcast(turn, heartbeat=True)
            self.become_follower(turn, self.term, NOBODY)
            self._set_leader(turn, NOBODY)
        else:
            for node in [node for node in self._progress if node not in configuration]:
                del self._progress[node]

    def _commit_to(self, turn: Turn, index: int) -> None:
        assert self.commit < index <= self.log.last_index
        for at in range(self.commit + 1, index + 1):
            entry = self.log.entry(at)
            checksum = hashlib.sha256(b"%d %s" % (entry.kind.value, entry.data)).hexdigest()[:16]
            turn.report(EntryCommitted(at, entry.term, checksum))
            turn.commit(entry)
        self.commit = index

    # -- replication: the follower's side -------------------------------------------------------

    def _receive_append(self, turn: Turn, sender: NodeId, message: Append) -> None:
        if message.term < self.term:
            turn.send_durable(sender, AppendReply(self.term, message.request, False, 0))
            return
        if self.role is Role.LEADER and message.term == self.term:
            raise RemoteProtocolError(f"{sender} claims to lead term {self.term} as well")
        check_run(message.entries, message.previous_index, message.previous_term, message.term)
        self.become_follower(turn, message.term, sender)
        if self.log.term_at(message.previous_index) != message.previous_term:
            hint = self._backtrack(message.previous_index)
            turn.send_durable(sender, AppendReply(self.term, message.request, False, hint))
            return
        self._store_entries(turn, message.entries)
        matched = message.previous_index + len(message.entries)
        # The leader's commit index may lie beyond what this message proves to match.
        if min(message.commit, matched) > self.commit:
            self._commit_to(turn, min(message.commit, matched))
        turn.send_durable(sender, AppendReply(self.term, message.request, True, matched))

    def _backtrack(self, previous: int) -> int:
        if previous > self.log.last_index:
            return self.log.last_index + 1
        return max(self.log.first_index_of_term(previous), self.commit + 1)

    def _store_entries(self, turn: Turn, entries: Sequence[LogEntry]) -> None:
        """Append what is new; truncate at the first conflict only (paper, Figure 2, rule 3)."""
        for at, entry in enumerate(entries):
            term = self.log.term_at(entry.index)
            if term == entry.term:
                continue
            if term is not None:
                self._truncate(turn, entry.index)
            self._append(turn, entries[at:])
            return

    def _truncate(self, turn: Turn, index: int) -> None:
        if index <= self.commit:
            raise RemoteProtocolError(f"asked to replace the committed entry {index}")
        before = self.log.configuration_index
        self.log.truncate(index)
        self._durable = min(self._durable, index - 1)
        self._unstable = deque(
            (sequence, min(last, index - 1)) for sequence, last in self._unstable
        )
        turn.report(LogTruncated(index))
        if self.log.configuration_index != before:
            self._report_voters(turn)

    # -- nodes that are no voters -----------------------------------------------------------------

    def _receive_learn_request(self, turn: Turn, sender: NodeId, message: LearnRequest) -> None:
        if 1 <= message.first <= self.commit:
            entries = self.log.slice(message.first, self.config.append_size_max, self.commit)
            turn.send(sender, Learned(entries, self.commit))

    def hear_of_leader(self, turn: Turn, term: int, leader: NodeId) -> None:
        """Hearsay, for a node that is no voter and gets nothing from the leader itself. It helps to
        find the leader, and counts for nothing else."""
        check_term(term)
        if self.is_voter or term < self.term or not leader:
            return
        if term > self.term:
            self.become_follower(turn, term, NOBODY)
        self._set_leader(turn, leader)

    def give_up_log(self, turn: Turn) -> None:
        """Follow no log any more, to take another one from its beginning. Only a log with which
        nothing is lost; its entries stay on the disk until those of the other replace them."""
        assert not self.log.is_settled
        self.become_follower(turn, self.term, NOBODY)
        self._set_leader(turn, NOBODY)
        self.log = RaftLog()
        self.commit = self._durable = 0
        self._unstable.clear()

    def teach(self, turn: Turn, node: NodeId, first: int) -> None:
        """Send committed entries from `first` on to a node that is no voter, unasked."""
        self._receive_learn_request(turn, node, LearnRequest(first))

    def _learn(self, turn: Turn, sender: NodeId, message: Learned) -> None:
        """Take committed entries from somebody who is not our leader. They are final: where the
        own log differs beyond the commit index, it gives way. They must follow the commit index
        without a gap, or own entries in between, which nobody confirmed, would pass for committed.
        """
        if self.is_voter and self.leader:
            return  # our leader will send them
        entries = [entry for entry in message.entries if entry.index > self.commit]
        if not entries:
            return
        if entries[0].index != self.commit + 1:
            turn.send(sender, LearnRequest(self.commit + 1))
            return
        check_run(entries, self.commit, self.log.term_at(self.commit) or 0, entries[-1].term)
        if entries[-1].term > self.term:
            self.become_follower(turn, entries[-1].term, NOBODY)
        self._store_entries(turn, entries)
        self._commit_to(turn, entries[-1].index)
        if message.committed > self.commit:
            turn.send(sender, LearnRequest(self.commit + 1))


def check_term(term: int) -> None:
    """Raise RemoteProtocolError for a term that nobody could count on from."""
    if term > TERM_MAX:
        raise RemoteProtocolError(f"term {term} is over {TERM_MAX}")


def check_run(
    entries: Sequence[LogEntry], previous_index: int, previous_term: int, term_max: int
) -> None:
    """Raise RemoteProtocolError unless the entries may follow (previous_index, previous_term)."""
    check_term(term_max)
    for entry in entries:
        if entry.index != previous_index + 1 or not previous_term <= entry.term <= term_max:
            raise RemoteProtocolError(f"entry {entry.index} of term {entry.term} is out of line")
        if entry.kind is EntryKind.VOTERS and not (
            codec.unpack_value(Configuration, entry.data).voters
        ):
            raise RemoteProtocolError("a configuration without voters")
        previous_index, previous_term = entry.index, entry.term
