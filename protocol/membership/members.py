"""The table of the other members: each one's record, state, and what speaks against it.

    REMEMBERED -- any word of or about it ------------>  ALIVE, LEFT
    ALIVE    -- no ack, direct or through k helpers -->  SUSPECT
    ALIVE, SUSPECT  -- refused before two witnesses -->  FAILED
    SUSPECT  -- not refuted in time ------------------>  FAILED
    SUSPECT, FAILED  -- a newer record by its owner -->  ALIVE
    any      -- its own record says so --------------->  LEFT
    FAILED, LEFT     -- for long enough -------------->  forgotten
    REMEMBERED, FAILED, LEFT -- the operator's word -->  forgotten

Everything is kept per node id, that is per key: a name or an address may move. Whoever was
forgotten comes back only by a newer record of its own, not by the old one that somebody still has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from protocol.clocks import Nanoseconds
from protocol.facts.membership import Evidence
from protocol.identity import NOBODY, NodeId
from protocol.membership.states import State
from protocol.membership.view_digest import ViewDigest
from protocol.messages.membership import MemberRecord

NEVER: Nanoseconds = -(2**62)
FORGOTTEN_MAX = 10_000  # last records that are kept of those who are not wanted back


@dataclass(slots=True)
class Member:
    """What is known of one other node. `since` is when it came into its state; `accusers` are those
    who got no answer from it while it is a suspect, `witnesses` those whom it refused, both for
    this version of its record; `evidence` is set when it has failed."""

    record: MemberRecord
    state: State
    since: Nanoseconds
    accuser: NodeId = NOBODY
    evidence: Evidence | None = None
    degraded: bool = False
    accusers: set[NodeId] = field(default_factory=set)
    witnesses: set[NodeId] = field(default_factory=set)
    back_at: Nanoseconds = NEVER

    @property
    def is_silent(self) -> bool:
        """Whether it has failed, and may live on where it is not heard from here."""
        return self.state is State.FAILED and self.evidence in (Evidence.SILENCE, Evidence.DEAF)

    @property
    def is_here(self) -> bool:
        """Whether it counts as being there: a suspect gets the benefit of the doubt."""
        return self.state is State.ALIVE or self.state is State.SUSPECT


@dataclass(slots=True, frozen=True)
class Forgotten:
    """What is kept of a node that was dropped: the last record that was known here, and until when
    it is missed (0 if somebody said that it may go)."""

    record: MemberRecord
    missed_until: Nanoseconds


class Members:
    """See the module's text. `alive` is the list that everybody uses, kept until somebody's state
    changes."""

    def __init__(self) -> None:
        self._members: dict[NodeId, Member] = {}
        self._forgotten: dict[NodeId, Forgotten] = {}
        self._alive: list[NodeId] | None = None
        self.digest = ViewDigest()

    def __repr__(self) -> str:
        counts = dict.fromkeys(State, 0)
        for member in self._members.values():
            counts[member.state] += 1
        return " ".join(f"{state.value}={n}" for state, n in counts.items() if n)

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[tuple[NodeId, Member]]:
        return iter(self._members.items())

    def get(self, node: NodeId) -> Member | None:
        """None for a stranger."""
        return self._members.get(node)

    def everybody(self) -> dict[NodeId, Member]:
        """Every other node that is known, whatever its state."""
        return self._members

    def alive(self) -> list[NodeId]:
        """Those that are there, suspects included, in the order in which they became known."""
        if self._alive is None:
            self._alive = [node for node, member in self._members.items() if member.is_here]
        return self._alive

    def healthy(self) -> list[NodeId]:
        """Those of `alive` that nobody suspects and that do not come and go."""
        return [
            node
            for node, member in self._members.items()
            if member.state is State.ALIVE and not member.degraded
        ]

    def gone(self) -> list[NodeId]:
        """Those that have failed or left, as opposed to those never or not yet heard of."""
        return [
            node
            for node, member in self._members.items()
            if member.state is State.FAILED or member.state is State.LEFT
        ]

    def namesakes(self, record: MemberRecord) -> list[NodeId]:
        """Others that are there under this record's name."""
        return [
            node
            for node, member in self._members.items()
            if member.record.name == record.name and node != record.node and member.is_here
        ]

    def is_newer(self, record: MemberRecord) -> bool:
        """Whether the record says more than what is known of its owner."""
        member = self._members.get(record.node)
        if member is None:
            last = self._forgotten.get(record.node)
            return last is None or record.version > last.record.version
        known = member.record.version
        return record.version > known or (
            record.version == known and member.state is State.REMEMBERED
        )

    def forgotten(self, node: NodeId) -> Forgotten | None:
        """None if it was not."""
        return self._forgotten.get(node)

    def put(self, record: MemberRecord, state: State, now: Nanoseconds) -> Member:
        """Take a newer record, which ends whatever spoke against an older one."""
        node = record.node
        old = self._members.get(node)
        since = old.since if old is not None and old.state is state else now
        member = Member(record, state, since)
        if old is not None:
            member.degraded = old.degraded
            member.back_at = now if old.is_silent else old.back_at
        self._members[node] = member
        self._forgotten.pop(node, None)
        self._alive = None
        self.digest.put(record, state)
        return member

    def move(self, member: Member, state: State, now: Nanoseconds) -> None:
        """Put a member into another state."""
        member.state, member.since = state, now
        self._alive = None
        self.digest.put(member.record, state)

    def missed(self, now: Nanoseconds) -> list[NodeId]:
        """Those that failed, were forgotten for it, and may live on somewhere else."""
        return [node for node, last in self._forgotten.items() if now < last.missed_until]

    def forget(self, node: NodeId, missed_until: Nanoseconds = 0) -> None:
        """Drop what is known of a node, but for its last record."""
        self._forgotten[node] = Forgotten(self._members.pop(node).record, missed_until)
        if len(self._forgotten) > FORGOTTEN_MAX:
            del self._forgotten[next(iter(self._forgotten))]
        self._alive = None
        self.digest.drop(node)
