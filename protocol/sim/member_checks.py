"""Checkers of the membership: an accusation holds in the incarnation in which its accuser made it,
and whoever passes it on changes nothing; what is believed of a member is what it said itself.
"""

from __future__ import annotations

from dataclasses import replace

from protocol.facts.membership import MemberChanged, MemberJoined, MemberLeft, MemberRefuted
from protocol.identity import NOBODY, NodeId
from protocol.membership import sign_record
from protocol.messages.membership import MemberSync, Probe, ProbeAck, ProbeRequest, Word
from protocol.sim.host import Host
from protocol.sim.watch import InvariantBroken


class MemberChecks:
    """See the module's text."""

    def __init__(self) -> None:
        self._accused: set[tuple[NodeId, NodeId, int, int]] = set()  # by whom, whom, and when

    def see_rumors(
        self,
        number: int,
        sender: Host,
        receiver: Host,
        said: Probe | ProbeAck | ProbeRequest | MemberSync,
    ) -> None:
        """Whoever accuses is the first to say so. That it has forgotten a member for its silence is
        nobody's accusation."""
        for rumor in said.news.rumors:
            if rumor.accuser == NOBODY and rumor.word is Word.FORGOTTEN:
                continue
            accusation = (rumor.accuser, rumor.node, rumor.epoch, rumor.incarnation)
            if rumor.accuser == sender.identity.node:
                self._accused.add(accusation)
            elif accusation not in self._accused:
                raise InvariantBroken(
                    "accused_by", f"n{sender.number} tells what nobody has said: {rumor}"
                )

    def see_news(
        self, host: Host, fact: MemberJoined | MemberRefuted | MemberChanged | MemberLeft
    ) -> None:
        """The owner would sign the same again, for a signature is no matter of chance."""
        assert host.peer is not None
        owner = host.world.by_node.get(fact.node)
        member = host.peer.membership.members().get(fact.node)
        if owner is None or member is None:
            return  # itself
        unsigned = replace(member.record, signature=b"")
        if sign_record(owner.identity, host.peer.membership.cluster, unsigned) != member.record:
            raise InvariantBroken(
                "own_word", f"n{host.number} believes what n{owner.number} never said: {fact}"
            )
