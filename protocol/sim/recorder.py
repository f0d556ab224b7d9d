"""A watcher that writes a run down as a `Recording`, for diagrams and for ShiViz.

Of a long run the end is kept: that is where a failure shows.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import replace

from protocol.clocks import SECOND, Nanoseconds
from protocol.facts import Fact
from protocol.facts.agreement import RoleChanged
from protocol.messages import Message
from protocol.messages.agreement import Agreement
from protocol.sim.host import Host
from protocol.sim.record import (
    EVENTS_MAX,
    TEXT_MAX,
    Delivered,
    Fault,
    FaultKind,
    Happened,
    Lost,
    Recorded,
    Recording,
    RoleTaken,
    Sent,
    kind_of,
)
from protocol.sim.watch import Fate, Watcher

_NODE = re.compile(r"\bnode=(\d+)")
_UNTIL = re.compile(r"\buntil=([\d.]+)(m?)s")
_KINDS = {
    "crash": FaultKind.CRASH,
    "pause": FaultKind.PAUSE,
    "cut": FaultKind.CUT,
    "flap": FaultKind.CUT,
    "isolate_leader": FaultKind.CUT,
    "minimal_quorum": FaultKind.CUT,
}


class Recorder(Watcher):
    """Watches a world; `recording` is what it has seen."""

    def __init__(self) -> None:
        self._events: deque[Recorded] = deque(maxlen=EVENTS_MAX)
        self._names: list[str] = []
        self._down: dict[str, Fault] = {}

    def recording(self) -> Recording:
        """All of it, or of a long run its end."""
        sent: set[int] = set()
        events: list[Recorded] = []
        for event in self._events:
            if isinstance(event, Sent):
                sent.add(event.number)
            elif isinstance(event, Delivered | Lost) and event.number not in sent:
                continue  # sent before what is kept
            events.append(event)
        return Recording(tuple(self._names), tuple(events))

    def see_started(self, at: Nanoseconds, host: Host) -> None:
        name = self._name(host)
        down = self._down.pop(name, None)
        if down is not None:
            ended = replace(down, until_ns=at)
            self._events = deque(
                (ended if event is down else event for event in self._events), maxlen=EVENTS_MAX
            )

    def see_stopped(self, at: Nanoseconds, host: Host, why: str) -> None:
        fault = Fault(at, self._name(host), FaultKind.CRASH, why[:TEXT_MAX], None)
        self._down[self._name(host)] = fault
        self._events.append(fault)

    def see_fault(self, at: Nanoseconds, text: str) -> None:
        words = text.split()
        kind = _KINDS.get(words[4], FaultKind.OTHER) if len(words) > 4 else FaultKind.OTHER
        if kind is FaultKind.CRASH:
            return  # it is seen when it happens
        node, until = _NODE.search(text), _UNTIL.search(text)
        name = f"n{node[1]}" if node and f"n{node[1]}" in self._names else None
        until_ns = int(float(until[1]) * SECOND) if until and not until[2] else at
        self._events.append(Fault(at, name, kind, text[:TEXT_MAX], max(until_ns, at)))

    def see(self, at: Nanoseconds, host: Host, fact: Fact) -> None:
        if isinstance(fact, RoleChanged):
            self._events.append(RoleTaken(at, self._name(host), fact.role, fact.term))
        else:
            self._events.append(Happened(at, self._name(host), str(fact)[:TEXT_MAX]))

    def see_sent(
        self, at: Nanoseconds, number: int, sender: Host, receiver: Host, message: Message
    ) -> None:
        inner = message.message if isinstance(message, Agreement) else message
        self._events.append(
            Sent(
                at,
                number,
                self._name(sender),
                self._name(receiver),
                kind_of(message),
                type(inner).__name__,
            )
        )

    def see_arrived(self, at: Nanoseconds, number: int, receiver: Host, fate: Fate) -> None:
        if fate is Fate.DELIVERED:
            self._events.append(Delivered(at, number))
        else:
            self._events.append(Lost(at, number, fate.value))

    def _name(self, host: Host) -> str:
        name = f"n{host.number}"
        if name not in self._names:
            self._names.append(name)
        return name
