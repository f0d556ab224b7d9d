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
    LEADER         nobody answers, or its disk does not: hands    FOLLOWER
                   over to the furthest (thesis, 3.10)
    any            a higher term, or this term's leader           FOLLOWER

This class does no IO and reads no clock. A host calls it and finds in the turn what to do; by hand
it is easier through `protocol.raft.by_hand.RaftNode`. This file has the inputs, the roles and the
log; what goes beyond one of them is in a part of its own:

    Leadership, Candidacy    what only a leader, or a candidate, knows: gone with the role
    Elections, Following     votes and time-outs; the part of a node that does not lead
    Writes, Snapshots        what the disk owes; what stands for the beginning of the log
    Impairment, another_log  after damage, or another log than this one
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from protocol import codec
from protocol.clocks import Nanoseconds
from protocol.codec import ENTRY_SIZE_MAX
from protocol.config import RaftConfig
from protocol.configuration import Change, Configuration, Transition, changed, left
from protocol.effects import AppendEntries, HardState, Restored, Snapshot
from protocol.errors import Busy, ChangeRefused, NotLeader, RemoteProtocolError
from protocol.facts.agreement import (
    EntryCommitted,
    LeaderElected,
    LeaderResigned,
    LogTruncated,
    RoleChanged,
    VoteGranted,
    VotersChanged,
)
from protocol.identity import NOBODY, NodeId
from protocol.messages.agreement import (
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
from protocol.raft.elections import Elections, check_term
from protocol.raft.following import Following
from protocol.raft.impairment import Impairment
from protocol.raft.leadership import Leadership
from protocol.raft.log import RaftLog
from protocol.raft.snapshots import Snapshots
from protocol.raft.status import RaftStatus, Role
from protocol.raft.writes import Writes
from protocol.turn import Turn


def _take_any(state: bytes) -> None:
    """Whatever the bytes are, the state machine can be that."""


class Raft:
    """One node's part in the agreement. A node that is no voter follows, or learns from others."""

    def __init__(
        self,
        node: NodeId,
        config: RaftConfig,
        random: Random,
        restored: Restored,
        now: Nanoseconds,
        check_state: Callable[[bytes], None] = _take_any,
        opening: bytes = b"",
    ) -> None:
        """`check_state` raises RemoteProtocolError for the state of a snapshot from elsewhere that
        the state machine could not take. `opening` is what this node's first entry as leader of a
        term says to the state machine."""
        self.node = node
        self.config = config
        self.random = random
        self.check_state = check_state
        self.opening = opening
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
        self.elections = Elections(self, now)
        self.impairment = Impairment(self)
        self.snapshots = Snapshots(self)
        self.writes = Writes(self.log.last_index, config)

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
        return self.elections.deadline()

    @property
    def durable_vote(self) -> bool:
        """Whether a candidate's vote for itself is on its disk, and counts."""
        return self.candidacy is not None and self.node in self.candidacy.grants

    # -- inputs -------------------------------------------------------------------------------

    def found(self, turn: Turn) -> None:
        """Start a cluster of which this node is the only voter. Once in a cluster's life."""
        assert self.log.last_index == 0, "only an empty log can be founded"
        self.term = max(self.term, 1)  # it may have followed, or voted for, another log before
        self.writes.persist(turn, HardState(self.term, self.vote))
        data = codec.pack_value(Configuration((self.node,)))
        self.append(turn, (LogEntry(1, 1, EntryKind.VOTERS, data),))
        self.elections.end_promise(turn.now)
        self.elections.campaign(turn)

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
                self.elections.receive_vote_request(turn, sender, message)
            case VoteReply():
                self.elections.receive_vote_reply(turn, sender, message)
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
                self.elections.receive_timeout_now(turn, sender, message)
            case Resigned():
                if message.term == self.term:
                    self.elections.lose_leader(turn, sender)

    def tick(self, turn: Turn) -> None:
        """A deadline may have come."""
        if self.leadership is not None:
            self.leadership.tick(turn)
        else:
            self.elections.tick(turn)

    def persisted(self, turn: Turn, sequence: int) -> None:
        """Everything up to this persist sequence is durable."""
        self.writes.persisted(turn.now, sequence)
        if self.leadership is not None:
            self.leadership.advance_commit(turn)
        else:
            self.elections.persisted(turn, sequence)

    def propose(self, turn: Turn, data: bytes, kind: EntryKind = EntryKind.COMMAND) -> int:
        """Append a command: its index, which is its own only while the term lasts. NotLeader or
        Busy: it was not appended."""
        index = self.log.last_index + 1
        if not self.propose_all(turn, [(kind, data)]):
            raise Busy("too much is not committed yet; try again")
        return index

    def propose_all(
        self, turn: Turn, commands: Sequence[tuple[EntryKind, bytes]]
    ) -> Sequence[tuple[EntryKind, bytes]]:
        """Append as many of the commands as there is room for, and send them together: those that
        were appended. NotLeader or Busy: none was."""
        leadership = self._lead()
        sizes = [len(data) for _, data in commands]
        if max(sizes, default=0) > ENTRY_SIZE_MAX:
            raise RemoteProtocolError(f"a command of {max(sizes)} bytes fits no Append")
        if leadership.transferee:
            raise Busy(f"leadership is being handed over to {leadership.transferee}")
        taken = commands[: leadership.room_for(sizes)]
        if taken:
            self._append_own(turn, taken)
        return taken

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

    def unreachable(self, turn: Turn, node: NodeId) -> None:
        """A message to `node` could not be delivered: send it one at a time until it answers."""
        if self.leadership is not None:
            self.leadership.unreachable(turn, node)
        self.elections.lose_leader(turn, node)

    def install(self, turn: Turn, snapshot: Snapshot, configuration_before: int) -> None:
        """The log stands on a snapshot from elsewhere: hand it on in place of entries."""
        assert snapshot.index > self.commit
        self.commit = snapshot.index
        turn.commit(snapshot)
        if self.log.configuration_index != configuration_before:
            self._report_voters(turn)

    # -- roles: the only places where the role changes ----------------------------------------

    def become_follower(self, turn: Turn, term: int, leader: NodeId) -> None:
        """Follow `leader`, or nobody yet, in `term`."""
        assert term >= self.term
        if term > self.term:
            self.term, self.vote = term, NOBODY
            self.writes.persist(turn, HardState(term, NOBODY))
            self.set_leader(turn, NOBODY)
        if self.role is not Role.FOLLOWER:
            self.role = Role.FOLLOWER
            self.leadership = self.candidacy = None
            self.elections.wait(turn.now)
            turn.report(RoleChanged(self.role.value, self.term))
        if leader:
            self.set_leader(turn, leader)
            self.elections.heard_leader(turn.now)

    def become_pre_candidate(self, turn: Turn) -> None:
        assert self.leadership is None
        assert self.may_campaign
        if self.role is not Role.PRE_CANDIDATE:
            self.role = Role.PRE_CANDIDATE
            turn.report(RoleChanged(self.role.value, self.term))
        self.set_leader(turn, NOBODY)
        self.elections.stand(turn.now)
        self.candidacy = Candidacy(self, self.term + 1, pre=True, transfer=False)
        self.candidacy.ask(turn)

    def become_candidate(self, turn: Turn, transfer: bool = False) -> None:
        assert self.role in (Role.PRE_CANDIDATE, Role.FOLLOWER)
        assert self.may_campaign
        self.role = Role.CANDIDATE
        self.set_leader(turn, NOBODY)
        self.term, self.vote = self.term + 1, self.node
        self.writes.persist(turn, HardState(self.term, self.vote))
        turn.report(RoleChanged(self.role.value, self.term))
        turn.report(VoteGranted(self.term, self.node))
        self.elections.stand(turn.now)
        self.candidacy = Candidacy(self, self.term, pre=False, transfer=transfer)
        self.candidacy.ask(turn)
        self.elections.vote_cast(turn.sequence)

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
        self.append_own(turn, EntryKind.NOOP, self.opening)

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

    # -- the log and the disk ------------------------------------------------------------------

    def _lead(self) -> Leadership:
        if self.leadership is None:
            known = f"{self.leader} leads term {self.term}" if self.leader else "nobody is known to"
            raise NotLeader(f"this node does not lead: {known}")
        return self.leadership

    def append(self, turn: Turn, entries: Sequence[LogEntry]) -> None:
        """Append entries that follow the last one, here and on the disk."""
        before = self.log.configuration_index
        self.log.extend(entries)
        self.writes.persist(turn, AppendEntries(tuple(entries)), self.log.last_index)
        if self.log.configuration_index != before:
            self._report_voters(turn)

    def append_own(self, turn: Turn, kind: EntryKind, data: bytes) -> int:
        """Append an entry as leader and send it: its index."""
        return self._append_own(turn, [(kind, data)])

    def _append_own(self, turn: Turn, commands: Sequence[tuple[EntryKind, bytes]]) -> int:
        """The index of the first: to send them may lead to more entries behind them."""
        assert self.leadership is not None
        entries = [
            LogEntry(index, self.term, kind, data)
            for index, (kind, data) in enumerate(commands, self.log.last_index + 1)
        ]
        self.append(turn, entries)
        self.leadership.appended(turn, entries)
        return entries[0].index

    def truncate(self, turn: Turn, index: int) -> None:
        """Drop entries from `index` on, since they are in conflict with the leader's."""
        if index <= self.commit:
            raise RemoteProtocolError(f"asked to replace the committed entry {index}")
        before = self.log.configuration_index
        self.log.truncate(index)
        self.writes.forget_above(index - 1)
        turn.report(LogTruncated(index))
        if self.log.configuration_index != before:
            self._report_voters(turn)

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

    def _report_voters(self, turn: Turn) -> None:
        found = self.log.configuration
        index = self.log.configuration_index
        turn.report(VotersChanged(index, found.voters, found.outgoing, found.learners))
