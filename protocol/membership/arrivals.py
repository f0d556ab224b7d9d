"""Records that come in: who joins, returns, leaves, or has something new to say.

A record is taken if it is newer than what is known, its owner signed it, and there is room. This
node's own may come back to it, from an earlier life: it counts on from there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from protocol.config import MembershipConfig
from protocol.effects import KeepMember
from protocol.facts.membership import (
    MemberChanged,
    MemberJoined,
    MemberLeft,
    MemberRefuted,
    NameClaimedTwice,
)
from protocol.identity import Identity, NodeId
from protocol.membership.bustle import Bustle
from protocol.membership.confidants import Confidants
from protocol.membership.grapevine import Grapevine
from protocol.membership.members import Member, Members
from protocol.membership.own_record import OwnRecord
from protocol.membership.reach import Reach
from protocol.membership.records import fault_of_record, is_signed
from protocol.membership.states import State
from protocol.membership.verdicts import Verdicts
from protocol.messages.membership import MemberRecord
from protocol.turn import Turn

NO_ROOM = "there are members_max members already"
FORGED = "the record's owner did not sign it"


class Arrivals:
    """See the module's text. `refused` counts what was not taken, by reason."""

    def __init__(
        self,
        identity: Identity,
        cluster: str,
        own: OwnRecord,
        config: MembershipConfig,
        members: Members,
        reach: Reach,
        verdicts: Verdicts,
        grapevine: Grapevine,
        confidants: Confidants,
        bustle: Bustle,
        refused: Counter[str],
    ) -> None:
        self._identity = identity
        self._cluster = cluster
        self._own = own
        self._config = config
        self._members = members
        self._reach = reach
        self._verdicts = verdicts
        self._grapevine = grapevine
        self._confidants = confidants
        self._bustle = bustle
        self._refused = refused

    def take(
        self,
        turn: Turn,
        sender: NodeId,
        record: MemberRecord,
        gone: Collection[tuple[NodeId, tuple[int, int]]],
    ) -> bool:
        """Take what is news; False if its owner was forgotten, and has not counted on since. Who is
        `gone` by what else is told was not seen here: it has not joined, and its name is free."""
        fault = fault_of_record(record)
        if fault:
            self._refused[fault] += 1
            return True
        if record.node == self._identity.node:
            if not self._own.outbid(record, turn.now, self._config.redial_interval_ns):
                self._refused[FORGED] += 1
            return True
        if not self._members.is_newer(record) or not self._is_acceptable(record):
            return self._members.forgotten(record.node) is None
        node = record.node
        old = self._members.get(node)
        was = old.state if old else None
        member = self._members.put(record, State.LEFT if record.left else State.ALIVE, turn.now)
        self._reach.forget(node)
        self._verdicts.go_between.answered(turn, node)
        # Else it has only counted on, to refute what this node has not even heard.
        is_news = (
            old is None
            or was is not State.ALIVE
            or member.state is not State.ALIVE
            or old.record.epoch != record.epoch
            or _said(old.record) != _said(record)
        )
        if was in (None, State.REMEMBERED):
            self._bustle.newcomer(turn.now)
            if self._reach.heard_at(node) == turn.now:
                self._confidants.called()
        if old is None or old.record.epoch != record.epoch or _said(old.record) != _said(record):
            turn.persist(KeepMember(record))  # how far it has counted, its next word tells
        self._grapevine.spread(record, is_hot=is_news, teller=sender)
        if was is State.FAILED:
            self._verdicts.returned(turn, node, member)
        if member.state is State.LEFT:
            self._verdicts.left(turn, node)
        self._report(turn, old, member, is_gone=(node, record.version) in gone)
        return True

    def _report(self, turn: Turn, old: Member | None, member: Member, is_gone: bool) -> None:
        record = member.record
        node = record.node
        was = old.state if old else None
        if member.state is State.LEFT:
            if was is not State.LEFT:
                turn.report(MemberLeft(node))
        elif was is State.SUSPECT:
            turn.report(MemberRefuted(node, record.incarnation))
        elif was is State.ALIVE:
            if old is not None and _said(old.record) != _said(record):
                turn.report(MemberChanged(node))
        elif not is_gone:
            endpoint = record.endpoints[0] if record.endpoints else ""
            turn.report(MemberJoined(node, record.name, endpoint))
            for other in self._members.namesakes(record):
                turn.report(NameClaimedTwice(record.name, node, other))

    def _is_acceptable(self, record: MemberRecord) -> bool:
        """There is room for it, and its owner signed it. A forged record is counted, and its bearer
        is told nothing: it may only be passing it on."""
        is_known = self._members.get(record.node) is not None
        if not is_known and len(self._members) >= self._config.members_max:
            self._refused[NO_ROOM] += 1
            return False
        if not is_signed(self._identity, self._cluster, record):
            self._refused[FORGED] += 1
            return False
        return True


def _said(record: MemberRecord) -> tuple[object, ...]:
    """What a node tells of itself, its name and addresses included, and whether it has left."""
    return (record.name, record.endpoints, record.metadata, record.left)
