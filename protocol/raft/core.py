"""Raft: one leader, one log (Ongaro and Ousterhout 2014; "thesis" is Ongaro's, 2014).

Invariants (Figure 3 of the paper): election safety, leader append-only, log matching, leader
completeness, state machine safety. Kept here by: one vote per term, durable before it is told;
a leader commits only entries of its own term by counting (5.4.2); a follower truncates on
conflict only.

    from           event                                          to
    ------------   --------------------------------------------   -------------
    FOLLOWER       no leader for an election time-out             PRE_CANDIDATE
    PRE_CANDIDATE  a majority would vote for us (thesis, 9.6)     CANDIDATE, term + 1
    FOLLOWER       the leader hands over to us (thesis, 3.10)     CANDIDATE, term + 1
    CANDIDATE      a majority voted for us                        LEADER
    CANDIDATE      no majority within an election time-out        PRE_CANDIDATE
    LEADER         no majority heard of for a time-out (6.2)      FOLLOWER
    LEADER         its disk does not answer                       FOLLOWER
    any            a higher term, or this term's leader           FOLLOWER

This class does no IO and reads no clock. A host calls it and finds in the turn what to do; by hand
it is easier through `protocol.raft.by_hand.RaftNode`. What only a leader knows and does is in
`Leadership`, what a candidate counts in `Candidacy`; both exist only while the role does. A
follower's part is `Following`.
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
from protocol.codec import ENTRY_SIZE_MAX
from protocol.config import RaftConfig
from protocol.configuration import Change, Configuration, Transition, changed, left
from protocol.effects import (
    AppendEntries,
    DropLog,
    HardState,
    KeepImpairment,
    KeepSnapshot,
    Record,
    Restored,
    Snapshot,
)
from protocol.errors import Busy, ChangeRefused, NotLeader, RemoteProtocolError
from protocol.facts import (
    EntryCommitted,
    ImpairmentEnded,
    LeaderElected,
    LeaderResigned,
    LogCompacted,
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
    OfRaft,
    Resigned,
    SnapshotPart,
    SnapshotReply,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from protocol.raft.candidacy import Candidacy
from protocol.raft.following import Following
from protocol.raft.leadership import Leadership
from protocol.raft.log import RaftLog
from protocol.raft.progress import EncodedSnapshot
from protocol.turn import Turn

TERM_MAX = 2**62


class Role(Enum):
    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre_candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


@dataclass(frozen=True, slots=True)
class RaftStatus:
    """A picture of the machine, for people and tests."""

    role: str
    term: int
    leader: NodeId
    vote: NodeId
    first_index: int
    last_index: int
    commit: int
    voters: tuple[NodeId, ...]
    outgoing: tuple[NodeId, ...]
    learners: tuple[NodeId, ...]
    impaired: bool
    progress: tuple[tuple[NodeId, str], ...] = ()  # at a leader: follower, its state in words


@dataclass(slots=True)
class _Write:
    """Something on its way to the disk: the log up to `last_index` if it holds entries."""

    sequence: int
    last_index: int
    since: Nanoseconds


class Raft:
    """One node's part in the agreement. A node that is no voter follows, or learns from others."""

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
        self.log = RaftLog(restored.entries, restored.snapshot)
        self.leader: NodeId = NOBODY
        self.leader_since = now  # that one, or nobody, is known to lead
        self.commit = self.log.snapshot_index
        self.impaired = restored.impaired
        self.reach = 1  # voters that are heard from directly, this one included; the host knows
        self.leadership: Leadership | None = None
        self.candidacy: Candidacy | None = None
        self.following = Following(self)
        self.durable = self.log.last_index
        self._writes: deque[_Write] = deque()
        self._encoded: EncodedSnapshot | None = None
        self.heard_leader_at: Nanoseconds | None = None
        self._vote_cast = 0  # the write that makes a candidate's vote for itself durable
        # A restart forgets when a leader was heard: hold back as if that had been just now.
        self._promised_until = now + config.lease_ns if self.term else now
        self._election_at = now + self.draw_timeout()

    def __repr__(self) -> str:
        return (
            f"<Raft {self.node[:6]} {self.role.value} term={self.term} leader={self.leader[:6]} "
            f"last={self.log.last_index} commit={self.commit}>"
        )

    # -- what the host may ask ----------------------------------------------------------------

    @property
    def configuration(self) -> Configuration:
        """The one in force: the latest in the log, committed or not."""
        return self.log.configuration

    @property
    def is_voter(self) -> bool:
        return self.node in self.log.configuration

    @property
    def may_campaign(self) -> bool:
        """Also without a vote of its own while the change that took it is not known to be
        committed: the others may not have it, and need the log that has (thesis, 4.2.2)."""
        if self.impaired:
            return False
        return self.is_voter or self.log.is_voted_out_above(self.commit, self.node)

    def status(self) -> RaftStatus:
        """What the machine looks like now."""
        found = self.log.configuration
        followers = self.leadership.progress if self.leadership else {}
        return RaftStatus(
            role=self.role.value,
            term=self.term,
            leader=self.leader,
            vote=self.vote,
            first_index=self.log.first_index,
            last_index=self.log.last_index,
            commit=self.commit,
            voters=found.voters,
            outgoing=found.outgoing,
            learners=found.learners,
            impaired=self.impaired,
            progress=tuple((node, repr(each)) for node, each in followers.items()),
        )

    def deadline(self) -> Nanoseconds | None:
        """When `tick` is due; None for a node that never campaigns."""
        if self.leadership is not None:
            return self.leadership.deadline()
        if not self.may_campaign:
            return None
        if self.candidacy is not None:
            return min(self._election_at, self.candidacy.repeat_at)
        return self._election_at

    @property
    def durable_vote(self) -> bool:
        """Whether a candidate's vote for itself is on its disk, and counts."""
        return self.candidacy is not None and self.node in self.candidacy.grants

    def disk_waits_since(self) -> Nanoseconds | None:
        """When the oldest write that is not durable yet was asked for; None if there is none."""
        return self._writes[0].since if self._writes else None

    def is_disk_stalled(self, now: Nanoseconds) -> bool:
        """Whether the disk owes an answer for so long that others should lead."""
        return bool(self._writes) and now - self._writes[0].since > self.config.disk_stall_ns

    # -- inputs -------------------------------------------------------------------------------

    def found(self, turn: Turn) -> None:
        """Start a cluster of which this node is the only voter. Once in a cluster's life."""
        assert self.log.last_index == 0, "only an empty log can be founded"
        self.term = max(self.term, 1)  # it may have followed, or voted for, another log before
        self.persist(turn, HardState(self.term, self.vote))
        data = codec.pack_value(Configuration((self.node,)))
        self.append(turn, (LogEntry(1, 1, EntryKind.VOTERS, data),))
        self._promised_until = turn.now
        self.campaign(turn)

    def step(self, turn: Turn, sender: NodeId, message: OfRaft) -> None:
        """Take a message from another node. RemoteProtocolError if it breaks the protocol."""
        match message:
            case LearnRequest():
                self.following.receive_learn_request(turn, sender, message)
            case Learned():
                self.following.receive_learned(turn, sender, message)
            case _:
                check_term(message.term)
                self._step_of_term(turn, sender, message)

    def _step_of_term(
        self,
        turn: Turn,
        sender: NodeId,
        message: VoteRequest
        | VoteReply
        | Append
        | AppendReply
        | SnapshotPart
        | SnapshotReply
        | TimeoutNow
        | Resigned,
    ) -> None:
        match message:
            case VoteRequest():
                self._receive_vote_request(turn, sender, message)
            case VoteReply():
                self._receive_vote_reply(turn, sender, message)
            case Append():
                self.following.receive_append(turn, sender, message)
            case SnapshotPart():
                self.following.receive_snapshot_part(turn, sender, message)
            case AppendReply() | SnapshotReply():
                if message.term > self.term:
                    self.become_follower(turn, message.term, NOBODY)
                elif self.leadership is not None and message.asked == self.term:
                    self.leadership.receive_reply(turn, sender, message)
            case TimeoutNow():
                self._receive_timeout_now(turn, sender, message)
            case Resigned():
                if message.term == self.term:
                    self.lose_leader(turn, sender)

    def tick(self, turn: Turn) -> None:
        """A deadline may have come."""
        if self.leadership is not None:
            self.leadership.tick(turn)
        elif self.may_campaign:
            if turn.now >= self._election_at:
                self._election_at = turn.now + self.draw_timeout()
                # A candidate whose own vote is on its way to the disk has not even asked yet.
                is_asking = self.role is not Role.CANDIDATE or self.durable_vote
                if is_asking and not self.is_disk_stalled(turn.now):
                    self.campaign(turn)
            elif self.candidacy is not None and turn.now >= self.candidacy.repeat_at:
                self.candidacy.ask(turn)

    def persisted(self, turn: Turn, sequence: int) -> None:
        """Everything up to this persist sequence is durable."""
        while self._writes and self._writes[0].sequence <= sequence:
            self.durable = max(self.durable, self._writes.popleft().last_index)
        if self.leadership is not None:
            self.leadership.advance_commit(turn)
        elif self.role is Role.CANDIDATE and sequence >= self._vote_cast:
            # Not before: a leader that is its only voter would send entries of a term which a crash
            # could make it lead a second time, with other entries.
            assert self.candidacy is not None
            self.candidacy.grants.add(self.node)
            self._count_votes(turn)

    def propose(self, turn: Turn, data: bytes, kind: EntryKind = EntryKind.COMMAND) -> int:
        """Append a command: its index, which is its own only while the term lasts. NotLeader or
        Busy: it was not appended."""
        leadership = self._lead()
        if len(data) > ENTRY_SIZE_MAX:
            raise RemoteProtocolError(f"a command of {len(data)} bytes fits no Append")
        if leadership.transferee:
            raise Busy(f"leadership is being handed over to {leadership.transferee}")
        if leadership.tail_is_full(len(data)):
            raise Busy("too much is not committed yet; try again")
        return self.append_own(turn, kind, data)

    def change(
        self, turn: Turn, changes: Sequence[Change], transition: Transition = Transition.AUTO
    ) -> int:
        """Begin to change the voters or learners: the index of the new configuration, which is in
        force from now on (thesis, 4.1). NotLeader or ChangeRefused: nothing was changed.

        One change at a time, and only after an entry of this term is committed: the rule that the
        erratum of the single-server change taught (Ongaro, raft-dev 2015).
        """
        self._lead().check_change()
        wanted = changed(self.log.configuration, changes, transition)
        if wanted == self.log.configuration:
            raise ChangeRefused("that is the configuration already")
        return self.append_own(turn, EntryKind.VOTERS, codec.pack_value(wanted))

    def leave_joint(self, turn: Turn) -> int:
        """Leave a joint configuration that was entered explicitly: the index of what follows."""
        self._lead().check_change()
        return self.append_own(
            turn, EntryKind.VOTERS, codec.pack_value(left(self.log.configuration))
        )

    def campaign(self, turn: Turn) -> None:
        """Ask whether we could win; only then raise the term (pre-vote, thesis 9.6)."""
        assert self.leadership is None
        if not self.may_campaign:
            return
        if self.is_promised(turn.now):
            # The own vote is promised like any other: as soon as that is over.
            self._election_at = min(self._election_at, self._promised_until)
            return
        self.become_pre_candidate(turn)
        self._count_votes(turn)

    def transfer(self, turn: Turn, to: NodeId) -> None:
        """Hand leadership over to a voter, once it has the whole log (thesis, 3.10). Proposals are
        refused meanwhile; given up after an election time-out. NotLeader, or ChangeRefused."""
        leadership = self._lead()
        if to == self.node or to not in self.log.configuration.voters:
            raise ChangeRefused(f"{to} is not another voter")
        leadership.begin_transfer(turn, to)

    def read_index(self, turn: Turn, context: object, lease: bool = False) -> None:
        """Ask from which applied index on a read is linearizable: `turn.reads` will have (context,
        index) in this or a later turn, or never if leadership is lost. NotLeader, or Busy."""
        self._lead().reads.ask(turn, context, lease)

    def forget_leader(self, turn: Turn) -> None:
        """Follow nobody, so that a pre-vote is granted at once; the time-out runs on."""
        if self.role is Role.FOLLOWER and self.leader:
            self.heard_leader_at = None
            self.set_leader(turn, NOBODY)

    def lose_leader(self, turn: Turn, node: NodeId) -> None:
        """Evidence from outside that `node` is gone: if it leads, do not wait the full time-out.

        The pre-vote still protects a living leader: others refuse while they hear from it. And
        nobody votes before the promise to the leader is over, from which it may answer reads.
        """
        if not node or node != self.leader or self.leadership is not None:
            return  # also when a seed, which has no name yet, refuses a node without a leader
        self.set_leader(turn, NOBODY)
        self.heard_leader_at = None
        soon = max(turn.now, self._promised_until)
        soon += self.random.randrange(self.config.election_timeout_ns // 8)
        self._election_at = min(self._election_at, soon)

    def unreachable(self, turn: Turn, node: NodeId) -> None:
        """A message to `node` could not be delivered: send it one at a time until it answers."""
        if self.leadership is not None:
            self.leadership.unreachable(node)
        self.lose_leader(turn, node)

    def compact(self, turn: Turn, index: int, state: bytes, trailing: int | None = None) -> None:
        """Let a snapshot of the state machine after `index` stand for the log up to there. Some
        entries before stay, for followers that are not far behind."""
        assert self.log.snapshot_index < index <= self.commit
        snapshot = self.snapshot_at(index, state)
        kept = self.config.trailing_entries if trailing is None else trailing
        keep_from = max(self.log.first_index, index + 1 - kept)
        self.log.compact(snapshot, keep_from)
        self.persist(turn, KeepSnapshot(snapshot, keep_from, replace=False))
        turn.report(LogCompacted(index, len(state)))

    def install(self, turn: Turn, snapshot: Snapshot, configuration_before: int) -> None:
        """The log stands on a snapshot from elsewhere: hand it on in place of entries."""
        assert snapshot.index > self.commit
        self.commit = snapshot.index
        turn.commit(snapshot)
        if self.log.configuration_index != configuration_before:
            self._report_voters(turn)

    def encoded_snapshot(self) -> EncodedSnapshot:
        """The own snapshot as it travels, kept since more than one may want it."""
        snapshot = self.log.snapshot
        assert snapshot is not None
        if self._encoded is None or self._encoded.index != snapshot.index:
            data = codec.pack_value(snapshot)
            self._encoded = EncodedSnapshot(snapshot.index, hashlib.sha256(data).digest(), data)
        return self._encoded

    def snapshot_at(self, index: int, state: bytes) -> Snapshot:
        """`state` after the entry `index`, with what belongs to it."""
        term, chain = self.log.term_at(index), self.log.chain_at(index)
        assert term is not None
        assert chain is not None
        at, configuration = self.log.configuration_at(index)
        return Snapshot(index, term, configuration, at, chain, self.log.origin, state)

    # -- another log -----------------------------------------------------------------------------

    def hear_of_leader(self, turn: Turn, term: int, leader: NodeId) -> None:
        """Hearsay, for a node that is no voter and gets nothing from the leader itself. It helps to
        find the leader, and counts for nothing else."""
        check_term(term)
        if self.is_voter or term < self.term or not leader:
            return
        if self.leadership is not None and term == self.term:
            return  # a leader on its way out knows better
        if term > self.term:
            self.become_follower(turn, term, NOBODY)
        self.set_leader(turn, leader)

    def give_up_log(self, turn: Turn) -> None:
        """Follow no log any more, to take another one from its beginning: one with which nothing
        is lost, or one that an operator has declared lost by rescuing the team elsewhere."""
        self.become_follower(turn, self.term, NOBODY)
        self.set_leader(turn, NOBODY)
        self.following.forget()
        self.log = RaftLog()
        self.commit = self.durable = 0
        self._encoded = None
        for write in self._writes:
            write.last_index = 0
        self.persist(turn, DropLog())

    def rescue(self, turn: Turn) -> None:
        """An operator's word that the majority is lost for good: take the own log for the agreed
        one, vote alone, and begin a new epoch, in which those of the old one have no say. Whatever
        only the others had is lost, and may have been acknowledged."""
        if self.leadership is not None or self.candidacy is not None:
            self.become_follower(turn, self.term, NOBODY)
        last, configuration = self.log.last_index, self.log.configuration
        assert last, "there is no log to rescue"
        # Votes of the old epoch mean nothing in the new one; a term that nobody has used does.
        self.term, self.vote = max(self.term, self.log.last_term) + 1, NOBODY
        self.persist(turn, HardState(self.term, self.vote))
        alone = Configuration((self.node,), epoch=configuration.epoch + 1)
        data = codec.pack_value(alone)
        self.append(turn, (LogEntry(last + 1, self.term, EntryKind.VOTERS, data),))
        self._end_impairment(turn)
        self._promised_until = turn.now
        self.campaign(turn)

    # -- roles: the only places where the role changes ----------------------------------------

    def become_follower(self, turn: Turn, term: int, leader: NodeId) -> None:
        """Follow `leader`, or nobody yet, in `term`."""
        assert term >= self.term
        if term > self.term:
            self.term, self.vote = term, NOBODY
            self.persist(turn, HardState(term, NOBODY))
            self.set_leader(turn, NOBODY)
        if self.role is not Role.FOLLOWER:
            self.role = Role.FOLLOWER
            self.leadership = self.candidacy = None
            self._election_at = turn.now + self.draw_timeout()
            turn.report(RoleChanged(self.role.value, self.term))
        if leader:
            self.set_leader(turn, leader)
            self.heard_leader_at = turn.now
            self._promised_until = turn.now + self.config.lease_ns
            self._election_at = turn.now + self.draw_timeout()

    def become_pre_candidate(self, turn: Turn) -> None:
        assert self.leadership is None
        assert self.may_campaign
        if self.role is not Role.PRE_CANDIDATE:
            self.role = Role.PRE_CANDIDATE
            turn.report(RoleChanged(self.role.value, self.term))
        self.set_leader(turn, NOBODY)
        self.heard_leader_at = None
        self._election_at = turn.now + self.draw_timeout()
        self.candidacy = Candidacy(self, self.term + 1, pre=True, transfer=False)
        self.candidacy.ask(turn)

    def become_candidate(self, turn: Turn, transfer: bool = False) -> None:
        assert self.role in (Role.PRE_CANDIDATE, Role.FOLLOWER)
        assert self.may_campaign
        self.role = Role.CANDIDATE
        self.set_leader(turn, NOBODY)
        self.term, self.vote = self.term + 1, self.node
        self.persist(turn, HardState(self.term, self.vote))
        turn.report(RoleChanged(self.role.value, self.term))
        turn.report(VoteGranted(self.term, self.node))
        self._election_at = turn.now + self.draw_timeout()
        self.heard_leader_at = None
        self.candidacy = Candidacy(self, self.term, pre=False, transfer=transfer)
        self.candidacy.ask(turn)
        self._vote_cast = turn.sequence

    def become_leader(self, turn: Turn) -> None:
        assert self.role is Role.CANDIDATE
        assert self.candidacy is not None
        assert self.log.configuration.has_quorum(self.candidacy.grants)
        self.role = Role.LEADER
        self.candidacy = None
        turn.report(RoleChanged(self.role.value, self.term))
        self.set_leader(turn, self.node)
        self.leadership = Leadership(self, turn.now)
        # An entry of the own term commits all before it (thesis, 6.4; paper, 5.4.2).
        self.append_own(turn, EntryKind.NOOP, b"")

    def resign(self, turn: Turn, reason: str) -> None:
        """Stop leading, and tell the others so that they need not wait to find out."""
        assert self.leadership is not None
        for node in self.log.configuration.everybody:
            if node != self.node:
                turn.send(node, Resigned(self.term))
        turn.report(LeaderResigned(self.term, reason))
        self.become_follower(turn, self.term, NOBODY)
        self.set_leader(turn, NOBODY)

    def set_leader(self, turn: Turn, leader: NodeId) -> None:
        """Note who leads this term; nobody if that is not known."""
        if leader != self.leader:
            self.leader = leader
            self.leader_since = turn.now
            turn.report(LeaderElected(self.term, leader))

    # -- elections ----------------------------------------------------------------------------

    def draw_timeout(self) -> Nanoseconds:
        """An election time-out, from [T, 2T) (paper, 5.2)."""
        timeout = self.config.election_timeout_ns
        return timeout + self.random.randrange(timeout)

    def hears_leader(self, now: Nanoseconds) -> bool:
        """Stickiness (thesis, 4.2.3): whoever heard a leader lately disturbs no term of it."""
        if self.leadership is not None:
            return True
        heard = self.heard_leader_at
        return heard is not None and now - heard < self.config.election_timeout_ns

    def is_promised(self, now: Nanoseconds) -> bool:
        """Whether a leader may still answer reads from its lease, since this node acknowledged it
        (thesis, 6.4.1). Evidence of its death does not count here: it may be wrong."""
        return now < self._promised_until

    def _receive_vote_request(self, turn: Turn, sender: NodeId, message: VoteRequest) -> None:
        sticks = self.hears_leader(turn.now) or self.is_promised(turn.now)
        if message.term > self.term and sticks and not message.transfer:
            granted = False
        elif message.pre:
            granted = (
                message.term > self.term
                and self._is_up_to_date(message)
                and not self._leads_better(turn, message)
                and not self.impaired
            )
        else:
            granted = self._vote(turn, sender, message)
        turn.send_durable(sender, VoteReply(self.term, message.term, granted, message.pre))

    def _vote(self, turn: Turn, sender: NodeId, message: VoteRequest) -> bool:
        if message.term > self.term:
            self.become_follower(turn, message.term, NOBODY)
        granted = (
            message.term == self.term
            and self.vote in (NOBODY, sender)
            and self._is_up_to_date(message)
            and not self.impaired
        )
        if granted and self.vote != sender:
            self.vote = sender
            self.persist(turn, HardState(self.term, self.vote))
            turn.report(VoteGranted(self.term, sender))
        if granted:
            self._election_at = turn.now + self.draw_timeout()
        return granted

    def _is_up_to_date(self, message: VoteRequest) -> bool:
        """5.4.1: the later last term, or of equal terms the longer log."""
        own = (self.log.last_term, self.log.last_index)
        return (message.last_term, message.last_index) >= own

    def _leads_better(self, turn: Turn, message: VoteRequest) -> bool:
        """Whether the candidate reaches no majority directly while this node does, and could win
        just as well: then this node shall lead. Only asked before the vote, so that it may delay
        an election and not prevent one: this node campaigns itself. A longer log of the candidate's
        is no matter of taste: with it, nobody else may be able to win."""
        needed = len(self.log.configuration.voters) // 2 + 1
        return (
            self.may_campaign
            and message.reach < needed <= self.reach
            and (message.last_term, message.last_index) == (self.log.last_term, self.log.last_index)
            and not self.is_disk_stalled(turn.now)
        )

    def _receive_vote_reply(self, turn: Turn, sender: NodeId, message: VoteReply) -> None:
        if message.term > self.term:
            self.become_follower(turn, message.term, NOBODY)
        elif self.candidacy is not None and self.candidacy.is_answered_by(message):
            (self.candidacy.grants if message.granted else self.candidacy.refusals).add(sender)
            self._count_votes(turn)

    def _count_votes(self, turn: Turn) -> None:
        if self.candidacy is None or not self.log.configuration.has_quorum(self.candidacy.grants):
            return
        if not self.may_campaign:
            return  # it has learned since that it is no voter any more
        if self.candidacy.pre:
            self.become_candidate(turn)
        else:
            self.become_leader(turn)

    def _receive_timeout_now(self, turn: Turn, sender: NodeId, message: TimeoutNow) -> None:
        """The leader hands over (thesis, 3.10): no pre-vote, as it wants to be disturbed."""
        if message.term != self.term or sender != self.leader or self.role is not Role.FOLLOWER:
            return
        if self.may_campaign and not self.is_disk_stalled(turn.now):
            self.become_candidate(turn, transfer=True)

    # -- the log and the disk ------------------------------------------------------------------

    def _lead(self) -> Leadership:
        if self.leadership is None:
            known = f"{self.leader} leads term {self.term}" if self.leader else "nobody is known to"
            raise NotLeader(f"this node does not lead: {known}")
        return self.leadership

    def persist(self, turn: Turn, record: Record, last_index: int = 0) -> None:
        """Make a record durable, and remember since when the disk owes an answer."""
        turn.persist(record)
        if self._writes and self._writes[-1].sequence == turn.sequence:
            self._writes[-1].last_index = max(self._writes[-1].last_index, last_index)
        else:
            self._writes.append(_Write(turn.sequence, last_index, turn.now))

    def append(self, turn: Turn, entries: Sequence[LogEntry]) -> None:
        """Append entries that follow the last one, here and on the disk."""
        before = self.log.configuration_index
        self.log.extend(entries)
        self.persist(turn, AppendEntries(tuple(entries)), self.log.last_index)
        if self.log.configuration_index != before:
            self._report_voters(turn)

    def append_own(self, turn: Turn, kind: EntryKind, data: bytes) -> int:
        """Append an entry as leader and send it: its index."""
        assert self.leadership is not None
        entry = LogEntry(self.log.last_index + 1, self.term, kind, data)
        self.append(turn, (entry,))
        self.leadership.appended(turn, entry)
        return entry.index

    def truncate(self, turn: Turn, index: int) -> None:
        """Drop entries from `index` on, since they are in conflict with the leader's."""
        if index <= self.commit:
            raise RemoteProtocolError(f"asked to replace the committed entry {index}")
        before = self.log.configuration_index
        self.log.truncate(index)
        self.forget_durable(index - 1)
        turn.report(LogTruncated(index))
        if self.log.configuration_index != before:
            self._report_voters(turn)

    def forget_durable(self, last_index: int) -> None:
        """What is on its way to the disk proves nothing about entries above `last_index`: others
        have taken their place (the ABA problem of asynchronous writes)."""
        self.durable = min(self.durable, last_index)
        for write in self._writes:
            write.last_index = min(write.last_index, last_index)

    def commit_to(self, turn: Turn, index: int) -> None:
        """Everything up to `index` is committed: hand it on."""
        assert self.commit < index <= self.log.last_index
        for at in range(self.commit + 1, index + 1):
            entry = self.log.entry(at)
            chain = self.log.chain_at(at)
            assert chain is not None
            turn.report(EntryCommitted(at, entry.term, chain.hex()))
            turn.commit(entry)
        self.commit = index

    def heard_commit(self, turn: Turn, committed: int) -> None:
        """Somebody says that the log is committed up to there. An impaired node that has just that,
        up to an entry of the latest term it knows of, and finds itself outside of the latest
        configuration, has been voted out.

        While it only catches up it meets old configurations, from before it became a voter, and
        they prove nothing; nor does a leader that does not know itself yet how far the log is
        committed. This isn't ideal because whoever says it may be cut off, and far behind too.
        """
        if not self.impaired:
            return
        log = self.log
        is_level = 0 < committed == self.commit and log.term_at(committed) == self.term
        is_settled = 0 < log.configuration_index <= self.commit
        if is_level and is_settled and not self.is_voter:
            self._end_impairment(turn)

    def _end_impairment(self, turn: Turn) -> None:
        """It is agreed that this node does not vote: what it may have promised before binds nobody
        any more, and it can be made a voter anew."""
        if self.impaired:
            self.impaired = False
            self.persist(turn, KeepImpairment(impaired=False))
            turn.report(ImpairmentEnded(self.commit))

    def _report_voters(self, turn: Turn) -> None:
        found = self.log.configuration
        index = self.log.configuration_index
        turn.report(VotersChanged(index, found.voters, found.outgoing, found.learners))


def check_term(term: int) -> None:
    """Raise RemoteProtocolError for a term that nobody could count on from."""
    if term > TERM_MAX:
        raise RemoteProtocolError(f"term {term} is over {TERM_MAX}")
