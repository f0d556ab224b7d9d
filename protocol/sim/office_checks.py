"""Checkers of the leader's office: nobody raises its term before a majority said that it would
vote; a leader's lease has ended when another is elected; an index that a leader names for a read is
no lower than what anybody had committed when it was asked. What follows if these do not hold, a
disturbed team or a stale read, shows only with luck.
"""

from __future__ import annotations

from protocol.facts import RoleChanged
from protocol.identity import NodeId
from protocol.messages import (
    OfLog,
    ReadReply,
    ReadRequest,
    VoteReply,
    VoteRequest,
)
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
                self._check_asked(sender, said.term)
        elif type(said) is ReadRequest:
            self._floors[sender.identity.node, said.read] = self._agreement.last_committed
        elif type(said) is ReadReply:
            floor = self._floors.get((receiver.identity.node, said.read), 0)
            if said.index < floor:
                raise InvariantBroken(
                    "read_index",
                    f"n{sender.number} names {said.index}, but {floor} was committed already",
                )

    def _check_asked(self, host: Host, term: int) -> None:
        node = host.identity.node
        if host.peer is None or (node, term) in self._campaigns:
            return
        self._campaigns.add((node, term))
        agreeing = {node, *self._would_vote.get((node, term), ())}
        configuration = host.peer.raft.log.configuration
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
            left = leadership.reads.lease_until() - other.clock.reading(host.world.now)
            if left > 0:
                raise InvariantBroken(
                    "lease_over",
                    f"n{host.number} leads term {fact.term}, and n{other.number} may answer reads "
                    f"of term {raft.term} for {left / 1e6:.1f} ms more",
                )
