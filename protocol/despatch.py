"""What a turn wants, as effects in the order that `effects.py` promises; and which way a message
goes: directly, and also around a link that seems to be broken."""

from __future__ import annotations

from protocol import codec
from protocol.clocks import Nanoseconds
from protocol.effects import Effect, Persist, Report, Send
from protocol.identity import NOBODY, NodeId
from protocol.membership import Membership, State
from protocol.messages import is_of_log
from protocol.messages.agreement import (
    Agreement,
    Append,
    OfLog,
    ReadRequest,
    SnapshotPart,
    VoteRequest,
)
from protocol.messages.sharing import QueryAnswer
from protocol.raft import Raft
from protocol.relaying import Relaying
from protocol.turn import Outgoing, Turn


class Despatch:
    """See the module's text. Numbers what is persisted, and knows how much of that is durable."""

    def __init__(self, membership: Membership, relaying: Relaying, raft: Raft) -> None:
        self._membership = membership
        self._relaying = relaying
        self._raft = raft
        self._sequence = 0  # of the last Persist
        self._durable = 0

    @property
    def next_sequence(self) -> int:
        """That a Persist of the next turn will have."""
        return self._sequence + 1

    def persisted(self, sequence: int) -> None:
        """Everything up to this is durable."""
        self._durable = sequence

    def effects(self, turn: Turn) -> list[Effect]:
        """All that the turn wants, in order."""
        effects: list[Effect] = []
        for item in turn.before:
            if isinstance(item, tuple):
                self._send(turn.now, item, effects)
            else:
                effects.append(item)
        uncertain = self._sequence > self._durable
        if turn.records or (turn.after and uncertain):
            self._sequence = turn.sequence
            effects.append(Persist(turn.sequence, tuple(turn.records)))
        for late in turn.after:
            if isinstance(late, tuple):
                self._send(turn.now, late, effects)
            else:
                effects.append(late)
        effects += map(Report, turn.facts)
        return effects

    def _send(self, now: Nanoseconds, item: Outgoing, effects: list[Effect]) -> None:
        """A message to a node, also by another way if the direct one seems to be broken."""
        destination, endpoint, message = item
        if destination == NOBODY:
            assert not is_of_log(message)
            effects.append(Send(NOBODY, (endpoint,), message))
            return
        endpoints = self._membership.endpoints_of(destination)
        if not is_of_log(message):
            effects.append(Send(destination, endpoints, message))
            if isinstance(message, QueryAnswer) and self._membership.is_troubled(destination):
                self._send_around(now, destination, message, effects)
            return
        envelope = Agreement(self._raft.log.identity, message)
        effects.append(Send(destination, endpoints, envelope))
        if self._relaying.is_silent(destination, now) or self._relaying.is_deaf(destination, now):
            self._send_around(now, destination, envelope, effects)
        if _wants_answer(message) and destination in self._raft.configuration:
            self._relaying.asked(destination, now)

    def _send_around(
        self,
        now: Nanoseconds,
        destination: NodeId,
        envelope: Agreement | QueryAnswer,
        effects: list[Effect],
    ) -> None:
        state = self._membership.state_of(destination)
        # SWIM asks through one other at most, and may hold a node to have failed that is two hops
        # from its accuser; one that has just sent something the long way has not.
        if state not in (State.ALIVE, State.SUSPECT) and not self._relaying.is_deaf(
            destination, now
        ):
            return
        frame = codec.encode(envelope)
        others = [
            node
            for node in self._raft.configuration.members
            if self._membership.state_of(node) is State.ALIVE
        ]
        ways = self._relaying.ways_to(destination, now, len(frame), others)
        if ways:
            relay = self._relaying.wrap(destination, frame)
            effects.extend(Send(way, self._membership.endpoints_of(way), relay) for way in ways)


def _wants_answer(message: OfLog) -> bool:
    """Whether silence after this message is suspicious."""
    if isinstance(message, Append):
        return message.request != 0
    return isinstance(message, VoteRequest | SnapshotPart | ReadRequest)
