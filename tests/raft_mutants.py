"""Raft with one rule removed at a time: elections, replication, reads. A mutant says which rule,
and what takes its place; who notices is in `test_mutants` and `test_mutants_at_large`.
Configurations and snapshots are in `raft_log_mutants`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from breeding import Breeder

from protocol import silence
from protocol.clocks import Nanoseconds
from protocol.effects import HardState
from protocol.identity import NOBODY, NodeId
from protocol.messages.agreement import (
    Append,
    AppendReply,
    LogEntry,
    OfRaft,
    SnapshotReply,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from protocol.raft import Raft, Role
from protocol.raft.elections import Elections
from protocol.raft.following import Following
from protocol.raft.leadership import Leadership
from protocol.raft.log import link
from protocol.raft.progress import Progress
from protocol.raft.reads import Reads
from protocol.raft.writes import Writes
from protocol.silence import Silence
from protocol.turn import Turn

BREEDER = Breeder()
MUTANTS = BREEDER.mutants
instead_of = BREEDER.instead_of


# -- elections ------------------------------------------------------------------------------------

_receive_vote_request = Elections.receive_vote_request
_vote = Elections._vote
_become_candidate = Raft.become_candidate
_step = Raft.step
_init = Raft.__init__


@instead_of(
    "VoteForgotten", "a vote is durable before it is told", (Elections, "receive_vote_request")
)
def forget_vote(self: Elections, turn: Turn, sender: NodeId, message: VoteRequest) -> None:
    _receive_vote_request(self, turn, sender, message)
    turn.records = [
        replace(record, vote=NOBODY) if isinstance(record, HardState) else record
        for record in turn.records
    ]


@instead_of("VotesTwice", "one vote per term", (Elections, "_vote"))
def vote_twice(self: Elections, turn: Turn, sender: NodeId, message: VoteRequest) -> bool:
    if message.term == self.raft.term and self.raft.role is Role.FOLLOWER:
        self.raft.vote = NOBODY
    return _vote(self, turn, sender, message)


@instead_of(
    "VotesForAnyLog", "a vote only for a log that is up to date", (Elections, "_is_up_to_date")
)
def flatter(self: Elections, message: VoteRequest) -> bool:
    return True


@instead_of("SkipsPreVote", "ask before the term is raised", (Elections, "campaign"))
def campaign_unasked(self: Elections, turn: Turn) -> None:
    if self.raft.may_campaign:
        asked = len(turn.after)
        self.raft.become_pre_candidate(turn)
        del turn.after[asked:]
        self.raft.become_candidate(turn)


@instead_of("NeverSticks", "a living leader protects its term", (Elections, "hears_leader"))
def hear_nobody(self: Elections, now: Nanoseconds) -> bool:
    return False


@instead_of("LeadsUnsure", "the own vote counts once it is durable", (Raft, "become_candidate"))
def count_own_vote(self: Raft, turn: Turn, transfer: bool = False) -> None:
    _become_candidate(self, turn, transfer)
    assert self.candidacy is not None
    self.candidacy.grants.add(self.node)
    self.elections.count_votes(turn)


@instead_of("CountsOldVotes", "a vote counts in the election it was asked in", (Raft, "step"))
def count_old_votes(self: Raft, turn: Turn, sender: NodeId, message: OfRaft) -> None:
    if isinstance(message, VoteReply) and self.candidacy is not None:
        message = replace(message, asked=self.candidacy.term)
    _step(self, turn, sender, message)


@instead_of("PrefersItself", "a longer log outweighs reach", (Elections, "_leads_better"))
def prefer_self(self: Elections, turn: Turn, message: VoteRequest) -> bool:
    needed = len(self.raft.log.configuration.voters) // 2 + 1
    return self.raft.may_campaign and message.reach < needed <= self.raft.reach


def only_voters(self: Raft) -> bool:
    return self.is_voter and not self.impaired


BREEDER.add(
    "FallsSilent",
    "who is voted out campaigns until that is committed",
    (Raft, "may_campaign", property(only_voters)),
)


_tick = Leadership.tick


@instead_of(
    "SpeaksFirst", "who slept looks whether it leads before it speaks", (Leadership, "tick")
)
def speak_first(self: Leadership, turn: Turn) -> None:
    if turn.now >= self._heartbeat_at:
        self.broadcast(turn, heartbeat=True)
    _tick(self, turn)


@instead_of("NeverStepsDown", "a leader without a majority steps down", (Leadership, "_has_quorum"))
def need_nobody(self: Leadership, turn: Turn) -> bool:
    self._quorum_check_at = turn.now + self.raft.config.election_timeout_ns
    return True


@instead_of("NeverGivesWay", "a leader that nobody answers hands over", (Silence, "_conclude"))
def hope_for_the_best(self: Silence, turn: Turn) -> None:
    """Somebody may answer yet."""


BREEDER.add("NeverAsks", "who is silent is asked before it is given up", (silence, "QUESTIONS", 0))


# -- replication and commitment -------------------------------------------------------------------

_advance_commit = Leadership.advance_commit
_step_of_term = Raft._step_of_term
_receive_append = Following.receive_append
_store_entries = Following._store_entries
_receive_reply = Leadership.receive_reply
_receive_learned = Following.receive_learned


@instead_of(
    "CommitsOldTerms",
    "entries of earlier terms are not committed by counting",
    (Leadership, "advance_commit"),
)
def commit_any_term(self: Leadership, turn: Turn) -> None:
    raft = self.raft
    indexes = {node: progress.match_index for node, progress in self.progress.items()}
    indexes[raft.node] = raft.writes.durable
    agreed = raft.log.configuration.agreed_index(indexes)
    if agreed > raft.commit:
        raft.commit_to(turn, agreed)
        self._finish_change(turn)


@instead_of(
    "CountsItselfEarly",
    "the leader's copy counts once its disk has it",
    (Leadership, "advance_commit"),
)
def count_self(self: Leadership, turn: Turn) -> None:
    self.raft.writes.durable = self.raft.log.last_index
    _advance_commit(self, turn)


@instead_of("AcknowledgesEarly", "durable before acknowledged", (Raft, "step"))
def acknowledge_early(self: Raft, turn: Turn, sender: NodeId, message: OfRaft) -> None:
    _step(self, turn, sender, message)
    turn.before += [item for item in turn.after if isinstance(item[2], AppendReply)]
    turn.after = [item for item in turn.after if not isinstance(item[2], AppendReply)]


_reply = Following._reply


@instead_of(
    "AcknowledgesAgain",
    "what was not written is no better for being repeated",
    (Following, "_reply"),
)
def reply_at_once(
    self: Following, turn: Turn, sender: NodeId, message: Append, success: bool, index: int
) -> None:
    others = len(turn.after)
    _reply(self, turn, sender, message, success, index)
    if not turn.records:  # nothing new in it: as if an earlier write had not failed
        turn.before += turn.after[others:]
        del turn.after[others:]


@instead_of(
    "ConfirmsOnce", "the answer to a heartbeat says again what is here", (Following, "_reply")
)
def confirm_once(
    self: Following, turn: Turn, sender: NodeId, message: Append, success: bool, index: int
) -> None:
    _reply(self, turn, sender, message, success, index if message.entries or not success else 0)


@instead_of("TakesAnyTail", "a leader that commits nothing takes little", (Leadership, "room_for"))
def room_for_all(self: Leadership, sizes: Sequence[int]) -> int:
    return len(sizes)


@instead_of("WaitsForItsDisk", "a leader whose disk hangs gives way", (Writes, "is_stalled"))
def never_stalled(self: Writes, now: Nanoseconds) -> bool:
    return False


@instead_of("TrustsOldWrites", "a write proves only what it wrote", (Writes, "forget_above"))
def keep_durable(self: Writes, last_index: int) -> None:
    return


@instead_of(
    "CountsOldAnswers", "an answer counts in the term it was asked in", (Raft, "_step_of_term")
)
def count_old(self: Raft, turn: Turn, sender: NodeId, message: Any) -> None:
    if isinstance(message, AppendReply | SnapshotReply) and message.term <= self.term:
        message = replace(message, asked=self.term, term=self.term)
    _step_of_term(self, turn, sender, message)


@instead_of("TruncatesAlways", "truncate on conflict only", (Following, "_store_entries"))
def truncate_always(self: Following, turn: Turn, entries: Sequence[LogEntry]) -> None:
    if entries and self.raft.commit < entries[0].index <= self.raft.log.last_index:
        self.raft.truncate(turn, entries[0].index)
    _store_entries(self, turn, entries)


@instead_of(
    "CommitsWhatItIsTold",
    "the commit index goes no further than what matches",
    (Following, "receive_append"),
)
def commit_told(self: Following, turn: Turn, sender: NodeId, message: Append) -> None:
    _receive_append(self, turn, sender, message)
    told = min(message.commit, self.raft.log.last_index)
    if message.term == self.raft.term and told > self.raft.commit:
        self.raft.commit_to(turn, told)


@instead_of(
    "IgnoresLowHints", "a hint may lie below the match index", (Leadership, "receive_reply")
)
def ignore_low(self: Leadership, turn: Turn, sender: NodeId, message: Any) -> None:
    progress = self.progress.get(sender)
    is_refusal = isinstance(message, AppendReply) and not message.success
    if progress and is_refusal and message.index <= progress.match_index:
        return
    _receive_reply(self, turn, sender, message)


@instead_of("MissesLosses", "a follower that lost entries is noticed", (Progress, "forget_match"))
def miss_loss(self: Progress) -> None:
    return


@instead_of("BelievesLessons", "the chain proves a lesson", (Following, "receive_learned"))
def believe(self: Following, turn: Turn, sender: NodeId, message: Any) -> None:
    chain = self.raft.log.chain_at(self.raft.commit) or b""
    for entry in message.entries:
        if entry.index > self.raft.commit:
            chain = link(chain, entry)
    _receive_learned(self, turn, sender, replace(message, chain=chain))


# -- reads ----------------------------------------------------------------------------------------

_ask = Reads.ask
_campaign = Elections.campaign


@instead_of("ReadsAlone", "a majority confirms a read", (Reads, "_is_certain"))
def be_certain(self: Reads, now: Nanoseconds, lease: bool) -> bool:
    return True


@instead_of("ReadsTooSoon", "no read before the own term's first commit", (Reads, "ask"))
def ask_soon(self: Reads, turn: Turn, context: object, lease: bool) -> None:
    began, self._leadership.began_index = self._leadership.began_index, 0
    _ask(self, turn, context, lease)
    self._leadership.began_index = began


@instead_of("CountsOldRounds", "a read needs answers to what was sent after it", (Reads, "confirm"))
def confirm_anyway(self: Reads, turn: Turn) -> None:
    while self._waiting:
        _, index, context = self._waiting.popleft()
        turn.reads.append((context, index))
    if self._next:
        self._begin_round(turn)


@instead_of("IgnoresMargin", "a lease ends early, for clocks that drift", (Reads, "lease_until"))
def no_margin(self: Reads) -> Nanoseconds:
    return self._leadership.confirmed_at() + self._leadership.raft.config.lease_ns


@instead_of("LeaseFromAnswer", "a lease counts from the sending", (Reads, "lease_until"))
def from_answer(self: Reads) -> Nanoseconds:
    raft = self._leadership.raft
    times = {node: each.heard_at for node, each in self._leadership.progress.items()}
    times[raft.node] = 2**62
    usable = raft.config.lease_ns - int(raft.config.lease_ns * raft.config.lease_margin)
    return raft.log.configuration.agreed_index(times) + usable


@instead_of("KeepsLease", "a transfer ends the lease for good", (Leadership, "_tell_to_campaign"))
def keep_lease(self: Leadership, turn: Turn, node: NodeId) -> None:
    turn.send(node, TimeoutNow(self.raft.term))


@instead_of("ForgetsPromise", "a promise is kept over a restart", (Raft, "__init__"))
def forget_promise(self: Raft, *arguments: Any, **named: Any) -> None:
    _init(self, *arguments, **named)
    self.elections._promised_until = 0


@instead_of("BreaksOwnPromise", "the own vote is promised too", (Elections, "campaign"))
def break_promise(self: Elections, turn: Turn) -> None:
    promised, self._promised_until = self._promised_until, 0
    _campaign(self, turn)
    self._promised_until = promised
