"""Events and queries: something is told to every member, or asked of every member.

    announce   an entry of the store under `event/`: signed, repaired like all entries, and reported
               by every node once, in its author's order; no member misses one, be it cut off for
               a while, for an entry is held until all have it
    query      an announcement that wants answers: each node's host answers to who asked, directly
               and around a broken link; who asked gathers them until everybody that is there has
               answered, or time is over

An author's announcements go round in `SLOTS` keys, so that old ones are replaced and, once all
members have them, collected: whoever joins later hears the latest of each author only.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from protocol import codec
from protocol.clocks import MILLISECOND, SECOND, Alarm, HybridClock, Nanoseconds
from protocol.effects import Asked, Gathered, Reply
from protocol.errors import RemoteProtocolError
from protocol.events import Announced, Answered, Queried
from protocol.facts.sharing import BatchMerged, EventReceived
from protocol.gossip import Gossip
from protocol.identity import NodeId
from protocol.messages.sharing import QueryAnswer
from protocol.turn import Turn

SLOTS = 64
PREFIX = "event/"
NAME_LENGTH_MAX = 64
PAYLOAD_SIZE_MAX = 8 * 1024
QUERIES_MAX = 256  # of this node at a time
QUERY_TIMEOUT_MIN: Nanoseconds = MILLISECOND  # less would go out as 0, which asks nobody
QUERY_TIMEOUT_MAX: Nanoseconds = 60 * SECOND


@dataclass(frozen=True, slots=True)
class Announcement:
    """The value of an `event/` key. `timeout_ms` is 0 unless answers are wanted."""

    name: str
    payload: str
    number: int
    timeout_ms: int


@dataclass(slots=True)
class _Query:
    """One of this node's, while answers come in."""

    request: int
    until: Nanoseconds
    waiting: set[NodeId]
    answers: dict[NodeId, str] = field(default_factory=dict)


class Announcing:
    """See the module's text."""

    def __init__(self, own: NodeId, gossip: Gossip) -> None:
        self._own = own
        self._gossip = gossip
        self._store = gossip.store
        self._queries: dict[int, _Query] = {}
        self._alarm = Alarm()
        self._number = max((each.number for each in self._own_announcements()), default=0)

    def deadline(self) -> Nanoseconds | None:
        """When the first query's time is over."""
        return self._alarm.at

    def announce(self, turn: Turn, event: Announced) -> None:
        """Tell everybody; answered once it is on this node's disk."""
        fault = _fault(event.name, event.payload)
        refusal = "" if fault else self._write(turn, event.name, event.payload, 0)
        if fault:
            turn.perform(Reply(event.request, "InvalidEvent", fault))
        elif refusal:
            turn.perform(Reply(event.request, "Busy", refusal))
        else:
            turn.answer_durable(Reply(event.request, "", ""))

    def query(self, turn: Turn, event: Queried, alive: list[NodeId]) -> None:
        """Ask everybody that is there, this node's own host included. The time for it is brought
        within bounds."""
        fault = _fault(event.name, event.payload)
        if fault:
            turn.perform(Reply(event.request, "InvalidEvent", fault))
        elif len(self._queries) >= QUERIES_MAX:
            detail = f"{QUERIES_MAX} queries wait for answers: try again later"
            turn.perform(Reply(event.request, "Busy", detail))
        else:
            timeout = max(QUERY_TIMEOUT_MIN, min(event.timeout_ns, QUERY_TIMEOUT_MAX))
            refusal = self._write(turn, event.name, event.payload, timeout // MILLISECOND)
            if refusal:
                turn.perform(Reply(event.request, "Busy", refusal))
                return
            until = turn.now + timeout
            self._queries[self._number] = _Query(event.request, until, {self._own, *alive})
            self._alarm.ask(until)

    def learn(self, turn: Turn, fact: BatchMerged) -> None:
        """Report the announcements among what was merged: those also that a later one, which came
        with them, has replaced."""
        if not any(key.startswith(PREFIX) for key in fact.keys):
            return
        for entry in self._store.entries_of(fact.author, fact.first):
            if not entry.key.startswith(PREFIX) or entry.deletes:
                continue
            announcement = _read(entry.value)
            if announcement is not None and entry.key == _key(fact.author, announcement.number):
                written = HybridClock.milliseconds(entry.stamp)
                age = max(0, turn.wall // MILLISECOND - written)
                self._received(turn, fact.author, announcement, age)

    def answered(self, turn: Turn, event: Answered) -> None:
        """This node's host has answered a query."""
        payload = event.payload if _fits(event.payload) else ""
        if event.origin == self._own:
            self.take_answer(turn, self._own, QueryAnswer(event.number, payload))
        else:
            turn.send(event.origin, QueryAnswer(event.number, payload))

    def take_answer(self, turn: Turn, sender: NodeId, message: QueryAnswer) -> None:
        """An answer to a query of this node."""
        query = self._queries.get(message.number)
        if query is None or sender in query.answers or not _fits(message.payload):
            return
        query.answers[sender] = message.payload
        query.waiting.discard(sender)
        if not query.waiting:
            self._end(turn, message.number, query)

    def tick(self, turn: Turn) -> None:
        """End the queries whose time is over."""
        if self._alarm.at is None or turn.now < self._alarm.at:
            return
        self._alarm.clear()
        for number, query in list(self._queries.items()):
            if query.until <= turn.now:
                self._end(turn, number, query)
            else:
                self._alarm.ask(query.until)

    def gone(self, turn: Turn, node: NodeId) -> None:
        """A member failed or left: its answer is not waited for."""
        for number, query in list(self._queries.items()):
            query.waiting.discard(node)
            if not query.waiting:
                self._end(turn, number, query)

    # -- details -----------------------------------------------------------------------------------

    def _write(self, turn: Turn, name: str, payload: str, timeout_ms: int) -> str:
        """Under the next number. Why it is not written; empty if it is."""
        number = self._number + 1
        announcement = Announcement(name, payload, number, timeout_ms)
        refusal = self._gossip.write_for_client(
            turn, _key(self._own, number), codec.pack_value(announcement)
        )
        if not refusal:
            self._number = number
        return refusal

    def _received(
        self, turn: Turn, author: NodeId, announcement: Announcement, age_ms: int
    ) -> None:
        turn.report(
            EventReceived(
                announcement.name, author, announcement.number, announcement.payload, age_ms
            )
        )
        if announcement.timeout_ms:
            timeout_ms = min(announcement.timeout_ms, QUERY_TIMEOUT_MAX // MILLISECOND)
            turn.perform(
                Asked(
                    author,
                    announcement.number,
                    announcement.name,
                    announcement.payload,
                    timeout_ms,
                    age_ms,
                )
            )

    def _end(self, turn: Turn, number: int, query: _Query) -> None:
        del self._queries[number]
        answers = tuple(sorted(query.answers.items()))
        turn.perform(Gathered(query.request, answers, tuple(sorted(query.waiting))))

    def _own_announcements(self) -> list[Announcement]:
        versions = [
            version
            for key in self._store.scan(f"{PREFIX}{self._own}/")
            for version in self._store.read(key)
        ]
        return [found for found in (_read(version.value) for version in versions) if found]


def _key(author: NodeId, number: int) -> str:
    return f"{PREFIX}{author}/{number % SLOTS}"


def _read(value: bytes) -> Announcement | None:
    """None if whoever wrote it did not write an announcement."""
    try:
        found = codec.unpack_value(Announcement, value)
    except RemoteProtocolError:
        return None
    return None if _fault(found.name, found.payload) else found


def _fault(name: str, payload: str) -> str:
    if not 0 < len(name) <= NAME_LENGTH_MAX:
        return f"the name of an event has 1 to {NAME_LENGTH_MAX} characters"
    if not _fits(payload):
        return f"the payload is over {PAYLOAD_SIZE_MAX} bytes"
    return ""


def _fits(payload: str) -> bool:
    return len(payload) <= PAYLOAD_SIZE_MAX and len(payload.encode()) <= PAYLOAD_SIZE_MAX
