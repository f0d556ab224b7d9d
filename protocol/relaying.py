"""One hop around a broken link: a voter that cannot be reached directly is reached through another.

Silence is what counts: a node that was asked something and has not been heard directly since is
silent; what goes to it also goes through others, through all of them until an answer tells the
way. A node from which a message came in this roundabout way does not hear us, perhaps, so its
answer goes both ways too. Direct words end it.

Invariants: a relayed message is signed by its origin and taken once; nobody passes on what another
has passed on, so nothing goes in circles; large messages go by a way that is known to work only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from protocol.clocks import Nanoseconds
from protocol.errors import RemoteProtocolError
from protocol.identity import Identity, NodeId
from protocol.messages.agreement import Relay

WAY_FRESH = 5  # times the wait: so long a way counts as working without news
FLOOD_SIZE_MAX = 16 * 1024  # bytes of a message that goes by all ways at once
SEEN_MAX = 4_096  # numbers of one origin that are remembered
COUNTER_BITS = 40


@dataclass(slots=True)
class _Seen:
    """Numbers of one origin. Those up to `forgotten` are not remembered one by one any more."""

    numbers: set[int] = field(default_factory=set)
    order: deque[int] = field(default_factory=deque)
    forgotten: int = 0

    def take(self, number: int) -> bool:
        """Whether the number comes for the first time, as far as is known; in doubt it does not."""
        if number in self.numbers or number <= self.forgotten:
            return False
        self.numbers.add(number)
        self.order.append(number)
        if len(self.order) > SEEN_MAX:
            oldest = self.order.popleft()
            self.numbers.remove(oldest)
            self.forgotten = max(self.forgotten, oldest)
        return True


class Relaying:
    """See the module's text."""

    def __init__(self, identity: Identity, cluster: str, epoch: int, wait_ns: Nanoseconds) -> None:
        self.wait_ns = wait_ns
        self.relayed = 0  # for others
        self._identity = identity
        self._cluster = cluster
        self._number = epoch << COUNTER_BITS
        self._heard_at: dict[NodeId, Nanoseconds] = {}
        self._asked_at: dict[NodeId, Nanoseconds] = {}  # since then without direct answer
        self._deaf_at: dict[NodeId, Nanoseconds] = {}  # sent something the long way lately
        self._ways: dict[NodeId, tuple[NodeId, Nanoseconds]] = {}  # through whom it came
        self._seen: dict[NodeId, _Seen] = {}

    # -- silence ---------------------------------------------------------------------------------

    def heard(self, node: NodeId, now: Nanoseconds) -> None:
        """A message came directly from the node."""
        self._heard_at[node] = now
        self._asked_at.pop(node, None)

    def asked(self, node: NodeId, now: Nanoseconds) -> None:
        """Something was sent to the node that it has to answer."""
        self._asked_at.setdefault(node, now)

    def is_silent(self, node: NodeId, now: Nanoseconds) -> bool:
        """Whether the node owes a direct answer for too long."""
        asked_at = self._asked_at.get(node)
        return asked_at is not None and now - asked_at > self.wait_ns

    def heard_at(self, node: NodeId) -> Nanoseconds | None:
        """When a message came directly from the node, the last time."""
        return self._heard_at.get(node)

    def all_asked_since(self, nodes: Iterable[NodeId]) -> Nanoseconds | None:
        """Since when every one of the nodes owes a direct answer; None if one does not."""
        since: Nanoseconds | None = None
        for node in nodes:
            asked_at = self._asked_at.get(node)
            if asked_at is None:
                return None
            since = asked_at if since is None else max(since, asked_at)
        return since

    def is_deaf(self, node: NodeId, now: Nanoseconds) -> bool:
        """Whether the node lately sent something the long way: perhaps it does not hear us."""
        return now - self._deaf_at.get(node, -(2**62)) < WAY_FRESH * self.wait_ns

    def reach(self, voters: Iterable[NodeId], now: Nanoseconds, window: Nanoseconds) -> int:
        """How many of the voters, this one included, have been heard from directly of late."""
        own, heard_at = self._identity.node, self._heard_at
        reached = 0
        for voter in voters:  # no generator: this is asked at every tick
            is_fresh = now - heard_at.get(voter, -window) < window
            if voter == own or (is_fresh and not self.is_silent(voter, now)):
                reached += 1
        return reached

    # -- sending ---------------------------------------------------------------------------------

    def ways_to(
        self, node: NodeId, now: Nanoseconds, size: int, others: Sequence[NodeId]
    ) -> list[NodeId]:
        """Through whom, beside the direct way, a message of this size shall go to the node."""
        way = self._ways.get(node)
        if way is not None and now - way[1] < WAY_FRESH * self.wait_ns:
            return [way[0]]
        if size > FLOOD_SIZE_MAX:
            return []
        return [
            other
            for other in others
            if other not in (node, self._identity.node) and not self.is_silent(other, now)
        ]

    def wrap(self, destination: NodeId, frame: bytes) -> Relay:
        """`frame`, to be passed on."""
        self._number += 1
        statement = self._statement(self._identity.node, destination, self._number, frame)
        signature = self._identity.sign(statement)
        return Relay(self._identity.node, destination, self._number, frame, signature)

    # -- receiving -------------------------------------------------------------------------------

    def may_pass_on(self, sender: NodeId, relay: Relay) -> bool:
        """Whether this node is the one hop."""
        if sender != relay.origin or relay.destination == self._identity.node:
            return False
        self.relayed += 1
        return True

    def unwrap(
        self, sender: NodeId, relay: Relay, public_key: bytes | None, now: Nanoseconds
    ) -> bytes | None:
        """The frame for this node; None if it has come before. RemoteProtocolError if it is not
        from whom it says."""
        if relay.destination != self._identity.node or relay.origin == self._identity.node:
            return None
        statement = self._statement(relay.origin, relay.destination, relay.number, relay.frame)
        if public_key is None or not self._identity.verify(public_key, relay.signature, statement):
            raise RemoteProtocolError(f"a relayed message that is not {relay.origin}'s")
        self._deaf_at[relay.origin] = now
        self._ways[relay.origin] = (sender, now)
        seen = self._seen.setdefault(relay.origin, _Seen())
        return relay.frame if seen.take(relay.number) else None

    def _statement(self, origin: NodeId, destination: NodeId, number: int, frame: bytes) -> bytes:
        head = f"quorate relay\0{self._cluster}\0{origin}\0{destination}\0{number}\0"
        return head.encode() + frame
