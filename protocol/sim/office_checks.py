"""Checkers of the leader's office: nobody raises its term before a majority said that it would
vote; a leader's lease has ended when another is elected; an index that a leader names for a read is
no lower than what anybody had committed when it was asked, and unless it rests on a lease a
majority has answered something since; a leader to whom no majority answers, or whose disk does not,
is soon none. What follows if these do not hold, a disturbed team or a stale read, shows only with
luck.
"""

from __future__ import annotations

from protocol.clocks import Nanoseconds
from protocol.facts.agreement import RoleChanged
from protocol.identity import NodeId
from protocol.messages.agreement import (
    Append,
    AppendReply,
    OfLog,
    ReadReply,
    ReadRequest,
    SnapshotReply,
    VoteReply,
    VoteRequest,
)
from protocol.raft import Raft
from protocol.sim.agreement_checks import AgreementChecks, has_a_majority
from protocol.sim.host import Host
from protocol.sim.watch import InvariantBroken


class OfficeChecks:
    """See the module's text."""

    def __init__(self, agreement: AgreementChecks) -> None:
        self._agreement = agreement
        self._would_vote: dict[tuple[NodeId, int], set[NodeId]] = {}  # candidate, term: who
        self._campaigns: set[tuple[NodeId, int]] = set()
        self._floors: dict[tuple[NodeId, int], int] = {}  # node, number of its question: index
        # Requests are numbered by (term, number): the last one before a question, and the last one
        # of a leader that a node has answered.
        self._asked_after: dict[tuple[NodeId, int], tuple[int, int]] = {}
        self._answered: dict[tuple[NodeId, NodeId], tuple[int, int]] = {}
        self._lonely: dict[NodeId, Nanoseconds] = {}  # leaders by their own clocks, since when
        self._look_at: dict[NodeId, Nanoseconds] = {}

    def begin_epoch(self) -> None:
        """An operator has rescued a log: it may be shorter than what was committed before."""
        self._floors.clear()

    def see_sent(self, sender: Host, receiver: Host, said: OfLog) -> None:
        """A candidate asks, a voter or a leader answers."""
        if type(said) is VoteReply:
            if said.pre and said.granted:
                asking = (receiver.identity.node, said.asked)
                self._would_vote.setdefault(asking, set()).add(sender.identity.node)
        elif type(said) is VoteRequest:
            if not (said.pre or said.transfer):
                self._check_asked(sender, said)
        elif type(said) is ReadRequest:
            self._see_question(sender, receiver, said)
        elif type(said) is ReadReply:
            floor = self._floors.get((receiver.identity.node, said.read), 0)
            if said.index < floor:
                raise InvariantBroken(
                    "read_index",
                    f"n{sender.number} names {said.index}, but {floor} was committed already",
                )
            self._check_confirmed(sender, receiver, said)

    # -- reads -----------------------------------------------------------------------------------

    def _see_question(self, sender: Host, receiver: Host, said: ReadRequest) -> None:
        question = (sender.identity.node, said.read)
        self._floors[question] = self._agreement.last_committed
        leadership = receiver.peer.raft.leadership if receiver.peer else None
        if not said.lease:
            before = (leadership.raft.term, leadership.request) if leadership else (0, 0)
            self._asked_after[question] = before

    def see_answer(
        self, number: int, sender: Host, receiver: Host, said: AppendReply | SnapshotReply
    ) -> None:
        """Whoever answers a leader confirms that it led when the request was sent."""
        link = (receiver.identity.node, sender.identity.node)
        self._answered[link] = max(self._answered.get(link, (0, 0)), (said.asked, said.request))

    def _check_confirmed(self, leader: Host, asking: Host, said: ReadReply) -> None:
        before = self._asked_after.get((asking.identity.node, said.read))
        if before is None or leader.peer is None:
            return
        raft, node = leader.peer.raft, leader.identity.node
        confirming = {
            other
            for other in raft.log.configuration.everybody
            if other == node or self._answered.get((node, other), (0, 0)) > before
        }
        if not has_a_majority(raft.log.configuration, confirming):
            raise InvariantBroken(
                "read_confirmed",
                f"n{leader.number} answers read {said.read} of n{asking.number}, and only "
                f"{len(confirming)} have confirmed that it leads",
            )

    # -- the end of an office --------------------------------------------------------------------

    def _check_disk(self, leader: Host, raft: Raft) -> None:
        """It is given some time to notice, and to write what is large."""
        hung_at, since = leader.drive.hung_at, raft.writes.waiting_since()
        if hung_at is None or since is None:
            return
        hung = min(leader.world.now - hung_at, leader.own_time - since)
        if hung > 2 * raft.config.disk_stall_ns + raft.config.election_timeout_ns:
            raise InvariantBroken(
                "disk_answers", f"n{leader.number} leads on, and its disk hangs for {hung} ns"
            )

    def see_append(self, number: int, sender: Host, receiver: Host, said: Append) -> None:
        """Look now and then whether a majority answers. A process that was stopped, or is slow, has
        to get round to it first."""
        peer, node = sender.peer, sender.identity.node
        leadership = peer.raft.leadership if peer else None
        now, patience = sender.own_time, sender.world.config.raft.election_timeout_ns
        if peer is None or leadership is None or peer.is_over or sender.is_behind:
            self._lonely.pop(node, None)
            return
        if 0 <= self._look_at.get(node, 0) - now < patience:
            return
        self._look_at[node] = now + patience // 2
        self._check_disk(sender, leadership.raft)
        heard = {other: each.heard_at for other, each in leadership.progress.items()}
        heard[node] = now
        if now - leadership.raft.log.configuration.agreed_index(heard) <= patience:
            self._lonely.pop(node, None)
        elif now - self._lonely.setdefault(node, now) > patience:
            raise InvariantBroken(
                "majority_heard", f"n{sender.number} leads on, and no majority has answered: {said}"
            )

    # -- terms -----------------------------------------------------------------------------------

    def _check_asked(self, host: Host, request: VoteRequest) -> None:
        """By the configuration when it stood: behind a disk that hangs the request leaves late, and
        others may have changed the voters since."""
        node, term = host.identity.node, request.term
        if host.peer is None or (node, term) in self._campaigns:
            return
        log = host.peer.raft.log
        if log.term_at(request.last_index) != request.last_term:
            return  # its log begins behind that by now, or is another one from there on
        self._campaigns.add((node, term))
        _, configuration = log.configuration_at(request.last_index)
        agreeing = {node, *self._would_vote.get((node, term), ())}
        if not has_a_majority(configuration, agreeing):
            raise InvariantBroken(
                "asked_before", f"n{host.number} began term {term} with {len(agreeing)} agreeing"
            )

    def see_role(self, host: Host, fact: RoleChanged) -> None:
        """Whoever led until now has no lease any more, by its own clock."""
        if fact.role != "leader":
            return
        for other in host.world.hosts:
            leadership = other.peer.raft.leadership if other.peer else None
            if other is host or leadership is None or other.peer is None:
                continue
            raft = other.peer.raft
            same_log = host.peer and raft.log.identity == host.peer.raft.log.identity
            if not same_log or raft.term >= fact.term or not leadership.reads.lease_allowed:
                continue
            left = leadership.reads.lease_until() - other.own_time
            if left > 0:
                raise InvariantBroken(
                    "lease_over",
                    f"n{host.number} leads term {fact.term}, and n{other.number} may answer reads "
                    f"of term {raft.term} for {left / 1e6:.1f} ms more",
                )
