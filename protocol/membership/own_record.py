"""What a node says of itself, in a record that nobody else can sign, so that only it can raise its
(epoch, incarnation): with every change, with every refutation, and when it takes leave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from protocol.clocks import Nanoseconds
from protocol.identity import Identity
from protocol.membership.grapevine import Grapevine
from protocol.membership.members import Members
from protocol.membership.records import fault_of_record, is_signed, sign_record
from protocol.membership.states import State
from protocol.messages.membership import MemberRecord


class OwnRecord:
    """See the module's text. ValueError if the others would not take `record`."""

    def __init__(
        self,
        identity: Identity,
        cluster: str,
        record: MemberRecord,
        members: Members,
        grapevine: Grapevine,
    ) -> None:
        fault = fault_of_record(record)
        if fault:
            raise ValueError(f"nobody would take this node's record: {fault}")
        self._identity = identity
        self._cluster = cluster
        self._members = members
        self._grapevine = grapevine
        self._outbids_at: Nanoseconds = 0
        self.record = sign_record(identity, cluster, record)
        members.digest.put(self.record, State.ALIVE)

    def renew(self, left: bool = False) -> None:
        """Count on, and tell everybody."""
        said = replace(self.record, incarnation=self.record.incarnation + 1, left=left)
        self.record = sign_record(self._identity, self._cluster, said)
        self._members.digest.put(self.record, State.LEFT if left else State.ALIVE)
        self._grapevine.spread(self.record)

    def describe(self, metadata: Mapping[str, str]) -> str:
        """Say something new; an empty value takes a word back. Why nobody would take that, and then
        nothing is said; else empty."""
        said = {**dict(self.record.metadata), **metadata}
        pairs = tuple((key, value) for key, value in said.items() if value)
        wanted = replace(self.record, metadata=pairs)
        fault = fault_of_record(wanted)
        if not fault and wanted != self.record:
            self.record = wanted
            self.renew()
        return fault

    def outbid(self, record: MemberRecord, now: Nanoseconds, patience: Nanoseconds) -> bool:
        """What this very node once said: if that was more than it now knows of, its journal is lost
        or old, and it counts on from there. Once in `patience`: if two processes run with one key,
        by mistake, each of them outbids the other. False if it is forged."""
        own = self.record
        if own.left or record.version < own.version or record == own or now < self._outbids_at:
            return True
        if not is_signed(self._identity, self._cluster, record):
            return False
        self._outbids_at = now + patience
        self.record = replace(own, epoch=record.epoch, incarnation=record.incarnation)
        self.renew()
        return True
