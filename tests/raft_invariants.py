"""A stage on which every step is watched: Figure 3 of the paper, and what it rests on.

    election safety, leader append-only, log matching, leader completeness, state machine safety
    one vote per term, across crashes; votes and acknowledgements are durable before they are told
    what is committed is on the disks of a majority; the commit index only grows
    nobody votes, or asks for votes, while a leader may count on it, over a crash too
    one change of the configuration at a time, and majorities of before and after overlap
    a read is not answered from before what was committed when it was asked

A broken one is an AssertionError that names it.
"""

from __future__ import annotations

from collections.abc import Callable

from raft_stage import Letter, Seat, Stage

from protocol.config import RaftConfig
from protocol.configuration import Configuration
from protocol.effects import Snapshot
from protocol.facts.agreement import EntryCommitted, LogTruncated, RoleChanged
from protocol.identity import NodeId
from protocol.messages.agreement import (
    AppendReply,
    LogEntry,
    OfRaft,
    SnapshotReply,
    VoteReply,
    VoteRequest,
)
from protocol.raft import Role


class WatchedStage(Stage):
    """See the module's text. Who asks for a read notes in `read_floor` what was committed then."""

    def __init__(
        self, names: str, voters: str, learners: str, config: RaftConfig, seed: str
    ) -> None:
        super().__init__(names, voters, learners, config, seed=seed)
        self.leaders: dict[int, str] = {}
        self.votes: dict[tuple[str, int], str] = {}
        self.promised: dict[str, int] = {}  # node: until then a leader counts on it
        self.held_back: dict[tuple[str, str, int, bool], bool] = {}  # requests for votes
        self.chains: dict[tuple[int, int], bytes] = {}
        self.committed: dict[int, tuple[bytes, int]] = {}  # index: chain, term of the committer
        self.commit_max = 0
        self.states: dict[int, bytes] = {0: b""}
        self.commits: dict[str, int] = dict.fromkeys(names, 0)
        self.read_floor: dict[int, int] = {}
        self.reads_done = 0
        self.before: dict[str, tuple[str, int, Configuration]] = {}
        for name in names:
            self.remember(name)

    def remember(self, name: str) -> None:
        raft = self[name].raft
        self.before[name] = (raft.role.value, raft.log.last_index, raft.configuration)

    def hand_over(self, letter: Letter) -> None:
        self.remember(letter.receiver)
        if isinstance(letter.message, VoteRequest):
            self.judge(letter.sender, letter.receiver, letter.message)
        super().hand_over(letter)

    def judge(self, candidate: str, voter: str, request: VoteRequest) -> None:
        """May it be granted? If it ever might, a late answer says nothing."""
        node = self[voter]
        question = (voter, candidate, request.term, request.pre)
        bound = node.now < self.promised.get(voter, node.now) and not request.transfer
        held_back = bound and request.term > node.raft.term
        self.held_back[question] = held_back and self.held_back.get(question, True)

    def ask(self, name: str, heading: str, deed: Callable[..., object]) -> object:
        self.remember(name)
        return super().ask(name, heading, deed)

    def write(self, name: str) -> None:
        self.remember(name)
        super().write(name)

    def perform(self, name: str) -> None:
        seat = self.seats[name]
        raft = seat.node.raft
        self.check_log(name)
        known = len(seat.facts)
        reads = len(seat.reads)
        super().perform(name)
        for fact in seat.facts[known:]:
            match fact:
                case RoleChanged(role="leader"):
                    self.check_leader(name, fact.term)
                case LogTruncated():
                    was_leader = self.before[name][0] == "leader" and raft.role is Role.LEADER
                    assert not was_leader, "leader append only"
                case EntryCommitted():
                    self.check_commit(name, fact)
                case _:
                    pass
        for context, index in seat.reads[reads:]:
            assert isinstance(context, int)
            self.reads_done += 1
            assert index >= self.read_floor[context], f"stale read {context} at {name}: {index}"
        assert raft.commit >= self.commits[name], "commit only grows"
        self.commits[name] = raft.commit

    def check_leader(self, name: str, term: int) -> None:
        earlier = self.leaders.setdefault(term, name)
        assert earlier == name, f"election safety: {earlier} and {name} in {term}"
        log = self[name].raft.log
        for index in sorted(self.committed, reverse=True):
            chain, committer = self.committed[index]
            if committer >= term:
                continue
            if index >= log.first_index - 1:
                assert log.chain_at(index) == chain, f"leader completeness: {name} lacks {index}"
            break

    def check_commit(self, name: str, fact: EntryCommitted) -> None:
        raft = self[name].raft
        chain = bytes.fromhex(fact.checksum)
        if fact.index in self.committed:
            assert self.committed[fact.index][0] == chain, f"state machine safety: {fact.index}"
            return
        assert raft.role is Role.LEADER or self.before[name][0] == "leader", (
            "a leader commits first"
        )
        self.committed[fact.index] = (chain, raft.term)
        self.commit_max = max(self.commit_max, fact.index)
        keeping = [
            NodeId(other)
            for other, seat in self.seats.items()
            if seat.disk.keeps(fact.index, fact.term)
        ]
        # A change that begins or ends in the same step is in force at once.
        configurations = (self.before[name][2], raft.configuration)
        if not any(self.seats[n].disk.impaired for each in configurations for n in each.members):
            assert any(each.has_quorum(keeping) for each in configurations), (
                f"durable commit: {fact} is kept by {keeping} of {configurations}"
            )

    def check_log(self, name: str) -> None:
        """Log matching: equal index and term means equal chains, and so equal logs before."""
        raft = self[name].raft
        log = raft.log
        if log.last_index:
            chain = log.chain_at(log.last_index)
            assert chain is not None
            key = (log.last_index, log.last_term)
            assert self.chains.setdefault(key, chain) == chain, f"log matching: {key} at {name}"
        if raft.role is Role.LEADER:
            assert raft.leadership is not None
            pending = [at for at, _ in log._configurations if at > raft.commit]
            own = [at for at in pending if at > raft.leadership.began_index]
            assert not own or len(pending) == 1, "one change at a time"
        role, last, configuration = self.before[name]
        if role == "leader" and raft.role is Role.LEADER:
            assert log.last_index >= last, "leader append only"
            check_overlap(configuration, raft.configuration)

    def apply(self, seat: Seat, item: LogEntry | Snapshot) -> None:
        super().apply(seat, item)
        known = self.states.setdefault(seat.applied, seat.state)
        assert known == seat.state, f"state machine safety: state after {seat.applied}"

    def post(self, sender: str, receiver: str, message: OfRaft) -> None:
        disk = self.seats[sender].disk
        promised = self.promised.get(sender, 0)
        match message:
            case VoteRequest(transfer=False):
                candidacy = self[sender].raft.candidacy  # none: it left late, and is void
                is_asking = candidacy is not None and candidacy.term == message.term
                assert not is_asking or self[sender].now >= promised, "promise kept by a candidate"
            case VoteReply(granted=True):
                question = (sender, receiver, message.asked, message.pre)
                assert not self.held_back.get(question), "promise kept"
            case AppendReply() | SnapshotReply():
                heard_until = self[sender].raft.elections.heard_until()
                until = heard_until - self.config.election_timeout_ns + self.config.lease_ns
                self.promised[sender] = max(promised, until)
            case _:
                pass
        match message:
            case VoteRequest(pre=False):
                self.check_vote(sender, message.term, sender)
            case VoteReply(granted=True, pre=False):
                self.check_vote(sender, message.asked, receiver)
                assert disk.hard_state.term >= message.asked, "a vote is durable before it is told"
                if disk.hard_state.term == message.asked:
                    assert disk.hard_state.vote == receiver, "a vote is durable before it is told"
            case AppendReply(success=True):
                assert disk.last_index >= message.index, "durable before acknowledged"
            case _:
                pass
        super().post(sender, receiver, message)

    def check_vote(self, name: str, term: int, candidate: str) -> None:
        earlier = self.votes.setdefault((name, term), candidate)
        assert earlier == candidate, f"one vote: {name} in {term} for {earlier} and {candidate}"


def check_overlap(before: Configuration, after: Configuration) -> None:
    """Any quorum of one meets any quorum of the other (thesis, 4.1)."""
    if before == after:
        return
    if not before.is_joint and not after.is_joint:
        changed = set(before.voters) ^ set(after.voters)
        assert len(changed) <= 1, f"overlap: {before} {after}"
    elif after.is_joint:
        assert not before.is_joint, f"overlap: {before} {after}"
        assert before.voters == after.outgoing, f"overlap: {before} {after}"
    else:
        assert after.voters == before.voters, f"overlap: {before} {after}"
