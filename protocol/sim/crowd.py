"""A light simulator for crowds: one machine a node, no disk, no agreement, no agents.

    crowd = Crowd(Random(1))
    place = crowd.add(node, "house-1:1", machine)
    crowd.run(60 * SECOND)

A machine is a `Membership` or an `Overlay`: whatever takes turns, messages and timers. Messages are
passed on as they are, without the codec, which is what lets ten thousand nodes fit into one run; a
`Scale` counts their bytes where bytes are what is asked.

A place can be down in two ways: a process that has ended refuses what is sent to it, a machine
that is off is silent. And it can stand still, as under SIGSTOP: no timer is served, and what comes
waits in a bounded buffer. Or only its messages do, both ways, while timers run on, which is how the
authors of Lifeguard made their anomalies.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any, Protocol, TypeAlias

from protocol import codec
from protocol.clocks import MILLISECOND, SECOND, Nanoseconds
from protocol.events import LinkFault
from protocol.facts import Fact
from protocol.identity import NOBODY, NodeId
from protocol.messages import Message
from protocol.sim.clock import WALL_START
from protocol.timers import NEVER
from protocol.turn import Outgoing, Turn

BACKLOG_MAX = 1_024  # messages that wait for a place that stands still; more are lost


class Machine(Protocol):
    """What lives at a place."""

    def receive(self, turn: Turn, sender: NodeId, message: Any) -> None: ...
    def tick(self, turn: Turn) -> None: ...
    def deadline(self) -> Nanoseconds: ...
    def flush(self, turn: Turn) -> None: ...
    def undeliverable(
        self, turn: Turn, destination: NodeId, endpoint: str, fault: LinkFault, detail: str
    ) -> None: ...


class Place:
    """A node of the crowd."""

    __slots__ = (
        "endpoint",
        "inbox",
        "is_blocked",
        "is_still",
        "is_up",
        "machine",
        "node",
        "number",
        "outbox",
        "refuses",
        "sends_until",
        "timer",
    )

    def __init__(self, number: int, node: NodeId, endpoint: str, machine: Machine) -> None:
        self.number = number
        self.node = node
        self.endpoint = endpoint
        self.machine = machine
        self.is_up = True
        self.refuses = True  # when it is not up
        self.is_still = False
        self.is_blocked = False  # its messages stand still, timers do not
        self.outbox: list[Outgoing] = []
        self.inbox: list[tuple[NodeId, Message]] = []
        self.timer: Nanoseconds = NEVER
        self.sends_until: Nanoseconds = 0  # what it has sent is under way by then


_Thing: TypeAlias = tuple[Nanoseconds, int, Callable[..., None], tuple[Any, ...]]


class Scale:
    """Weighs what is sent: `sizes` in bytes by class of message."""

    def __init__(self) -> None:
        self.sizes: Counter[str] = Counter()

    def weigh(self, message: Message) -> None:
        self.sizes[type(message).__name__] += len(codec.encode(message))


class Crowd:
    """See the module's text. `see` is called with each fact; `sent` counts messages by class."""

    def __init__(
        self,
        random: Random,
        delay_min_ns: Nanoseconds = MILLISECOND // 5,
        delay_mean_ns: Nanoseconds = MILLISECOND,
        see: Callable[[Nanoseconds, Place, Fact], None] | None = None,
    ) -> None:
        self.now: Nanoseconds = 0
        self.random = random
        self.places: list[Place] = []
        self.sent: Counter[str] = Counter()
        self.scale: Scale | None = None
        self.loss = 0.0  # probability
        self.carries: Callable[[int, int], bool] | None = None  # whether a link does; None: all do
        self.capacity = 0  # bytes a second that a place can send; 0 for any number
        self.outbox_max = 256 * 1024  # bytes that wait for that; more overflows
        self._delay_min_ns = delay_min_ns
        self._delay_rate = 1 / delay_mean_ns
        self._see = see
        self._by_node: dict[NodeId, Place] = {}
        self._by_endpoint: dict[str, Place] = {}
        self._heap: list[_Thing] = []
        self._count = 0

    def add(self, node: NodeId, endpoint: str, machine: Machine) -> Place:
        """A new place, up from now on."""
        place = Place(len(self.places), node, endpoint, machine)
        self.places.append(place)
        self._by_node[node] = place
        self._by_endpoint[endpoint] = place
        self._watch_timer(place)
        return place

    def at(self, when: Nanoseconds, action: Callable[..., None], *arguments: Any) -> None:
        """Do something at a time not in the past."""
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, action, arguments))

    def run(self, until: Nanoseconds) -> None:
        """Let everything happen up to a time."""
        heap, pop = self._heap, heapq.heappop
        while heap and heap[0][0] <= until:
            self.now, _, action, arguments = pop(heap)
            action(*arguments)
        self.now = until

    @property
    def events(self) -> int:
        """How many things have happened."""
        return self._count - len(self._heap)

    # -- what befalls a place ----------------------------------------------------------------------

    def act(self, place: Place, deed: Callable[..., Any], *arguments: Any) -> None:
        """A step of a machine: `deed(turn, *arguments)`."""
        turn = Turn(self.now, WALL_START + self.now, 1)
        deed(turn, *arguments)
        place.machine.flush(turn)
        if turn.facts and self._see is not None:
            for fact in turn.facts:
                self._see(self.now, place, fact)
        if turn.before or turn.after:
            for item in (*turn.before, *turn.after):
                assert isinstance(item, tuple)
                if place.is_blocked:
                    place.outbox.append(item)
                else:
                    self._post(place, item)
        self._watch_timer(place)

    def fail(self, place: Place, refuses: bool = True) -> None:
        """Its process ends; or, if nothing `refuses`, its machine."""
        place.is_up = False
        place.refuses = refuses

    def hold(self, place: Place, timers_too: bool = True) -> None:
        """It stands still from now on, or only its messages do."""
        place.is_still = timers_too
        place.is_blocked = not timers_too

    def release(self, place: Place) -> None:
        """It goes on: what has come meanwhile first, as an event loop does, then timers."""
        place.is_still = place.is_blocked = False
        outbox, place.outbox = place.outbox, []
        for item in outbox:
            self._post(place, item)
        inbox, place.inbox = place.inbox, []
        for sender, message in inbox:
            self.act(place, place.machine.receive, sender, message)
        place.timer = NEVER
        self._watch_timer(place)

    # -- messages and timers -----------------------------------------------------------------------

    def _watch_timer(self, place: Place) -> None:
        due = place.machine.deadline()
        if due < place.timer:
            place.timer = due
            self.at(max(due, self.now), self._fire, place, due)

    def _fire(self, place: Place, due: Nanoseconds) -> None:
        if place.timer != due:
            return  # of an earlier deadline
        if not place.is_up or place.is_still:
            return
        place.timer = NEVER
        if place.machine.deadline() <= self.now:
            self.act(place, place.machine.tick)
        else:
            self._watch_timer(place)

    def _post(self, sender: Place, item: Outgoing) -> None:
        destination, endpoint, message = item
        if destination == NOBODY:
            receiver = self._by_endpoint.get(endpoint)
        else:
            receiver = self._by_node.get(destination)
        self.sent[type(message).__name__] += 1
        if self.scale is not None:
            self.scale.weigh(message)  # type: ignore[arg-type]
        if receiver is None or receiver is sender:
            return
        if self.carries is not None and not self.carries(sender.number, receiver.number):
            return
        if self.loss and self.random.random() < self.loss:
            return
        delay = self._delay_min_ns + int(self.random.expovariate(self._delay_rate))
        if self.capacity:
            size = len(codec.encode(message))  # type: ignore[arg-type]
            begins = max(sender.sends_until, self.now)
            if (begins - self.now) * self.capacity > self.outbox_max * SECOND:
                self.at(self.now, self._fault, sender, receiver, destination, LinkFault.OVERFLOW)
                return
            sender.sends_until = begins + size * SECOND // self.capacity
            delay += sender.sends_until - self.now
        self.at(self.now + delay, self._arrive, sender, receiver, destination, message)

    def _arrive(
        self, sender: Place, receiver: Place, destination: NodeId, message: Message
    ) -> None:
        if not receiver.is_up:
            if receiver.refuses and sender.is_up:
                self._fault(sender, receiver, destination, LinkFault.REFUSED)
        elif receiver.is_still or receiver.is_blocked:
            if len(receiver.inbox) < BACKLOG_MAX:
                receiver.inbox.append((sender.node, message))
        else:
            self.act(receiver, receiver.machine.receive, sender.node, message)

    def _fault(self, sender: Place, receiver: Place, destination: NodeId, fault: LinkFault) -> None:
        if sender.is_up and not (sender.is_still or sender.is_blocked):
            undeliverable = sender.machine.undeliverable
            self.act(sender, undeliverable, destination, receiver.endpoint, fault, "")
