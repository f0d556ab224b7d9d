"""Checkers of what voters keep to beside their votes: whoever hears a leader disturbs no term of
it, and nobody votes while a leader may count on it, over a restart too; whoever has lost part of
its journal votes for nobody, until it has all that was committed when it started again.

A request is judged when it arrives, the answer to it when it leaves: in between lies a disk.
"""

from __future__ import annotations

from protocol import codec
from protocol.clocks import Nanoseconds
from protocol.errors import RemoteProtocolError
from protocol.facts.agreement import ImpairmentEnded
from protocol.identity import NodeId
from protocol.messages.agreement import (
    Agreement,
    AppendReply,
    Relay,
    SnapshotReply,
    VoteReply,
    VoteRequest,
)
from protocol.sim.agreement_checks import AgreementChecks
from protocol.sim.host import Host
from protocol.sim.watch import InvariantBroken

_Question = tuple[NodeId, NodeId, int, bool]  # voter, candidate, term, whether before the vote


class PromiseChecks:
    """See the module's text."""

    def __init__(self, agreement: AgreementChecks) -> None:
        self._agreement = agreement
        self._requests: dict[int, tuple[NodeId, VoteRequest]] = {}  # number of the message
        self._promised: dict[NodeId, Nanoseconds] = {}  # until then, by the world's clock
        self._held_back: dict[_Question, str] = {}  # the rule that forbids to grant it
        self._free: set[_Question] = set()  # it came at a time when it could be granted as well
        self._levels: dict[NodeId, int] = {}  # of who started impaired: what was committed then

    def begin_epoch(self) -> None:
        """An operator has rescued a log: promises to leaders before bind nobody."""
        self._promised.clear()
        self._held_back.clear()

    # -- requests --------------------------------------------------------------------------------

    def see_request(self, number: int, sender: Host, receiver: Host, said: VoteRequest) -> None:
        self._requests[number] = (sender.identity.node, said)

    def see_relay(self, number: int, sender: Host, receiver: Host, relay: Relay) -> None:
        """A request may come the long way too."""
        if relay.destination != receiver.identity.node:
            return
        try:
            inner = codec.decode(relay.frame)
        except RemoteProtocolError:
            return
        if isinstance(inner, Agreement) and isinstance(inner.message, VoteRequest):
            self._requests[number] = (relay.origin, inner.message)

    def see_arrived(self, number: int, receiver: Host) -> None:
        """A message is about to be taken."""
        found = self._requests.get(number)
        if found is None or receiver.peer is None:
            return
        candidate, request = found
        question = (receiver.identity.node, candidate, request.term, request.pre)
        rule = "" if request.transfer else self._rule_against(receiver, request)
        if rule and question not in self._free:
            self._held_back[question] = rule
        elif not rule:
            self._free.add(question)
            self._held_back.pop(question, None)

    def _rule_against(self, voter: Host, request: VoteRequest) -> str:
        assert voter.peer is not None
        if request.term <= voter.peer.raft.term:
            return ""
        if self._hears_leader(voter):
            return "leader_protected"
        promised = voter.world.now < self._promised.get(voter.identity.node, 0)
        return "promise_kept" if promised else ""

    @staticmethod
    def _hears_leader(voter: Host) -> bool:
        assert voter.peer is not None
        raft = voter.peer.raft
        return raft.leadership is not None or voter.own_time < raft.elections.heard_until()

    # -- answers ---------------------------------------------------------------------------------

    def see_answer(
        self, number: int, sender: Host, receiver: Host, said: AppendReply | SnapshotReply
    ) -> None:
        """Whoever answers a leader has promised to wait for it."""
        assert sender.peer is not None
        raft = sender.peer.raft
        heard_at = raft.elections.heard_leader_at
        if heard_at is not None:
            until = sender.clock.world_time(heard_at + raft.config.lease_ns)
            self._promised[sender.identity.node] = until

    def see_vote(self, number: int, sender: Host, receiver: Host, said: VoteReply) -> None:
        if not said.granted:
            return
        if sender.disk.impaired:
            raise InvariantBroken("impaired_votes", f"n{sender.number} lost its promises: {said}")
        question = (sender.identity.node, receiver.identity.node, said.asked, said.pre)
        rule = self._held_back.get(question)
        if rule == "leader_protected" and said.pre and not self._hears_leader(sender):
            rule = ""  # it has found out between the request's arrival and its turn
        if rule:
            raise InvariantBroken(rule, f"n{sender.number} to n{receiver.number}: {said}")

    # -- damaged journals ------------------------------------------------------------------------

    def see_started(self, host: Host) -> None:
        if host.disk.impaired:
            self._levels[host.identity.node] = self._agreement.last_committed

    def see_readmission(self, host: Host, fact: ImpairmentEnded) -> None:
        level = self._levels.get(host.identity.node, 0)
        if fact.commit < level:
            raise InvariantBroken(
                "readmitted_late",
                f"n{host.number} is sure of itself at {fact.commit}, but {level} was committed "
                f"when it started",
            )
