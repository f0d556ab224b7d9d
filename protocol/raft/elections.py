"""When a node asks to lead, and whom it lets lead: the part of elections that outlives the roles.

    paper, 5.2, 5.4.1    time-outs at random; a vote only for a log that is up to date
    thesis, 4.2.3        stickiness: whoever heard a leader lately disturbs no term of it
    thesis, 6.4.1        the promise to a leader, from which it may answer reads
    thesis, 9.6          pre-vote: ask whether one could win, only then raise the term

Invariant: one vote per term, durable before it is told; nobody is voted for, or votes for itself,
while a promise to the present leader holds, unless that leader asked for it (3.10).

What the present candidacy has counted is in `Candidacy`; the roles change in `Raft` only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocol.clocks import Nanoseconds
from protocol.effects import HardState
from protocol.errors import RemoteProtocolError
from protocol.facts.agreement import VoteGranted
from protocol.identity import NOBODY, NodeId
from protocol.messages.agreement import TimeoutNow, VoteReply, VoteRequest
from protocol.raft.progress import NEVER
from protocol.raft.status import Role
from protocol.turn import Turn

if TYPE_CHECKING:
    from protocol.raft.core import Raft

TERM_MAX = 2**62


class Elections:
    """See the module's text. `election_at`: when to campaign, unless a leader is heard before;
    `heard_leader_at`: the last time, None after evidence that it is gone."""

    def __init__(self, raft: Raft, now: Nanoseconds) -> None:
        self.raft = raft
        self.heard_leader_at: Nanoseconds | None = None
        self._vote_cast = 0  # the write that makes a candidate's vote for itself durable
        # A restart forgets when a leader was heard: hold back as if that had been just now.
        self._promised_until = now + raft.config.lease_ns if raft.term else now
        self.election_at = now + self._draw_timeout()

    # -- a leader, or none -----------------------------------------------------------------------

    def hears_leader(self, now: Nanoseconds) -> bool:
        """Stickiness (thesis, 4.2.3): whoever heard a leader lately disturbs no term of it."""
        if self.raft.leadership is not None:
            return True
        return now < self.heard_until()

    def heard_until(self) -> Nanoseconds:
        """So long counts what was last heard of the leader."""
        if self.heard_leader_at is None:
            return NEVER
        return self.heard_leader_at + self.raft.config.election_timeout_ns

    def misses_leader(self, now: Nanoseconds) -> bool:
        """Whether a heartbeat is overdue. Else the leader lives, whatever others say of it: a node
        that comes back from isolation holds everybody to have failed."""
        config, heard_at = self.raft.config, self.heard_leader_at
        return heard_at is None or now > heard_at + config.heartbeat_ns + config.vote_repeat_ns

    def is_promised(self, now: Nanoseconds) -> bool:
        """Whether a leader may still answer reads from its lease, since this node acknowledged it
        (thesis, 6.4.1). Evidence of its death does not count here: it may be wrong."""
        return now < self._promised_until

    def heard_leader(self, now: Nanoseconds) -> None:
        """The leader of this term has sent something, and may count on this node for a while."""
        self.heard_leader_at = now
        self._promised_until = now + self.raft.config.lease_ns
        self.wait(now)

    def wait(self, now: Nanoseconds) -> None:
        """Give everybody else an election time-out, from [T, 2T) (paper, 5.2)."""
        self.election_at = now + self._draw_timeout()

    def stand(self, now: Nanoseconds) -> None:
        """This node stands as a candidate, or asks whether it should: it follows nobody."""
        self.heard_leader_at = None
        self.wait(now)

    def end_promise(self, now: Nanoseconds) -> None:
        """There is nobody that a promise could have been made to."""
        self._promised_until = now

    def vote_cast(self, sequence: int) -> None:
        """The candidate's vote for itself is durable with this write."""
        self._vote_cast = sequence

    def renumber(self, by: int) -> None:
        """Move the sequence of the write down, as `Writes.renumber` does."""
        self._vote_cast = max(0, self._vote_cast - by)

    def _draw_timeout(self) -> Nanoseconds:
        timeout = self.raft.config.election_timeout_ns
        return timeout + self.raft.random.randrange(timeout)

    def forget_leader(self, turn: Turn) -> None:
        """Follow nobody, so that a pre-vote is granted at once; the time-out runs on."""
        if self.raft.role is Role.FOLLOWER and self.raft.leader:
            self.heard_leader_at = None
            self.raft.set_leader(turn, NOBODY)

    def lose_leader(self, turn: Turn, node: NodeId) -> None:
        """Evidence from outside that `node` is gone: if it leads, do not wait the full time-out.

        The pre-vote still protects a living leader: others refuse while they hear from it. And
        nobody votes before the promise to the leader is over, from which it may answer reads.
        """
        raft = self.raft
        if not node or node != raft.leader or raft.leadership is not None:
            return  # also when a seed, which has no name yet, refuses a node without a leader
        raft.set_leader(turn, NOBODY)
        self.heard_leader_at = None
        soon = max(turn.now, self._promised_until) + self._draw_turn(node)
        self.election_at = min(self.election_at, soon)

    def _draw_turn(self, gone: NodeId) -> Nanoseconds:
        """How long to let others go first, now that `gone` leads no more. The evidence reaches all
        at about the same time, so a wait at random alone would often split the vote; each has a
        turn of its own, in the order of the ring behind the one that led."""
        members = self.raft.log.configuration.members
        own = self.raft.node
        others = sorted({*members} - {gone} | {own}, key=lambda node: (node < gone, node))
        turn = self.raft.config.election_timeout_ns // 4 // len(others)
        return others.index(own) * turn + self.raft.random.randrange(turn // 2)

    def hear_of_leader(self, turn: Turn, term: int, leader: NodeId) -> None:
        """Hearsay, for a node that is no voter and gets nothing from the leader itself. It helps to
        find the leader, and counts for nothing else."""
        check_term(term)
        raft = self.raft
        if raft.is_voter or term < raft.term or not leader:
            return
        if raft.leadership is not None and term == raft.term:
            return  # a leader on its way out knows better
        if term > raft.term:
            raft.become_follower(turn, term, NOBODY)
        raft.set_leader(turn, leader)

    # -- to stand --------------------------------------------------------------------------------

    def deadline(self) -> Nanoseconds | None:
        """When `tick` is due; None for a node that never campaigns."""
        if not self.raft.may_campaign:
            return None
        if self.raft.candidacy is not None:
            return min(self.election_at, self.raft.candidacy.repeat_at)
        return self.election_at

    def tick(self, turn: Turn) -> None:
        """A deadline of a node that does not lead may have come."""
        raft = self.raft
        if not raft.may_campaign:
            return
        if turn.now >= self.election_at:
            self.wait(turn.now)
            # A candidate whose own vote is on its way to the disk has not even asked yet.
            is_asking = raft.role is not Role.CANDIDATE or raft.durable_vote
            if is_asking and not raft.writes.is_stalled(turn.now):
                self.campaign(turn)
        elif raft.candidacy is not None and turn.now >= raft.candidacy.repeat_at:
            raft.candidacy.ask(turn)

    def campaign(self, turn: Turn) -> None:
        """Ask whether we could win; only then raise the term (pre-vote, thesis 9.6)."""
        assert self.raft.leadership is None
        if not self.raft.may_campaign:
            return
        if self.is_promised(turn.now):
            # The own vote is promised like any other: as soon as that is over.
            self.election_at = min(self.election_at, self._promised_until)
            return
        self.raft.become_pre_candidate(turn)
        self.count_votes(turn)

    def persisted(self, turn: Turn, sequence: int) -> None:
        """Everything up to this sequence is durable: the own vote may be, and counts from then on.

        Not before: a leader that is its only voter would send entries of a term which a crash could
        make it lead a second time, with other entries.
        """
        if self.raft.role is Role.CANDIDATE and sequence >= self._vote_cast:
            assert self.raft.candidacy is not None
            self.raft.candidacy.grants.add(self.raft.node)
            self.count_votes(turn)

    def receive_vote_reply(self, turn: Turn, sender: NodeId, message: VoteReply) -> None:
        candidacy = self.raft.candidacy
        if message.term > self.raft.term:
            self.raft.become_follower(turn, message.term, NOBODY)
        elif candidacy is not None and candidacy.is_answered_by(message):
            (candidacy.grants if message.granted else candidacy.refusals).add(sender)
            if not (message.granted or candidacy.pre):
                self._expect_split_vote(turn)
            self.count_votes(turn)

    def _expect_split_vote(self, turn: Turn) -> None:
        """A voter of this very term has voted for somebody else, who should lead soon. If nobody
        does, the vote is split, and all this candidate would wait for is the time-out: it asks
        again sooner, in its turn. Only in the first term after the last leader's: where disks are
        slow, elections need their time, and time-outs from [T, 2T) keep candidates apart (5.2)."""
        if self.raft.term == self.raft.log.last_term + 1:
            soon = turn.now + self.raft.config.election_timeout_ns // 4
            self.election_at = min(self.election_at, soon + self._draw_turn(NOBODY))

    def count_votes(self, turn: Turn) -> None:
        """Go on to the next role if a majority is for it."""
        candidacy = self.raft.candidacy
        if candidacy is None or not self.raft.log.configuration.has_quorum(candidacy.grants):
            return
        if not self.raft.may_campaign:
            return  # it has learned since that it is no voter any more
        if candidacy.pre:
            self.raft.become_candidate(turn)
        else:
            self.raft.become_leader(turn)

    def receive_timeout_now(self, turn: Turn, sender: NodeId, message: TimeoutNow) -> None:
        """The leader hands over (thesis, 3.10): no pre-vote, as it wants to be disturbed."""
        raft = self.raft
        if message.term != raft.term or raft.role is not Role.FOLLOWER:
            return
        if sender != raft.leader != NOBODY:
            return  # with nobody known to lead, word that it resigns has overtaken its wish
        if raft.may_campaign and not raft.writes.is_stalled(turn.now):
            raft.become_candidate(turn, transfer=True)

    # -- to vote ---------------------------------------------------------------------------------

    def receive_vote_request(self, turn: Turn, sender: NodeId, message: VoteRequest) -> None:
        raft = self.raft
        # A promise outlasts the term in which it was made: word of a higher one may have come here
        # before the request for its vote.
        sticks = message.term > raft.term and self.hears_leader(turn.now)
        if (sticks or self.is_promised(turn.now)) and not message.transfer:
            granted = False
        elif message.pre:
            granted = (
                message.term > raft.term
                and self._is_up_to_date(message)
                and not self._leads_better(turn, message)
                and not raft.impaired
            )
        else:
            granted = self._vote(turn, sender, message)
        turn.send_durable(sender, VoteReply(raft.term, message.term, granted, message.pre))

    def _vote(self, turn: Turn, sender: NodeId, message: VoteRequest) -> bool:
        raft = self.raft
        if message.term > raft.term:
            raft.become_follower(turn, message.term, NOBODY)
        granted = (
            message.term == raft.term
            and raft.vote in (NOBODY, sender)
            and self._is_up_to_date(message)
            and not raft.impaired
        )
        if granted and raft.vote != sender:
            raft.vote = sender
            raft.writes.persist(turn, HardState(raft.term, raft.vote))
            turn.report(VoteGranted(raft.term, sender))
        if granted:
            self.wait(turn.now)
        return granted

    def _is_up_to_date(self, message: VoteRequest) -> bool:
        """5.4.1: the later last term, or of equal terms the longer log."""
        own = (self.raft.log.last_term, self.raft.log.last_index)
        return (message.last_term, message.last_index) >= own

    def _leads_better(self, turn: Turn, message: VoteRequest) -> bool:
        """Whether the candidate reaches no majority directly while this node does, and could win
        just as well: then this node shall lead. Only asked before the vote, so that it may delay
        an election and not prevent one: this node campaigns itself. A longer log of the candidate's
        is no matter of taste: with it, nobody else may be able to win."""
        raft = self.raft
        needed = len(raft.log.configuration.voters) // 2 + 1
        return (
            raft.may_campaign
            and message.reach < needed <= raft.reach
            and (message.last_term, message.last_index) == (raft.log.last_term, raft.log.last_index)
            and not raft.writes.is_stalled(turn.now)
        )


def check_term(term: int) -> None:
    """Raise RemoteProtocolError for a term that nobody could count on from."""
    if term > TERM_MAX:
        raise RemoteProtocolError(f"term {term} is over {TERM_MAX}")
