"""A few neighbours, and some contacts to replace them from: HyParView.

Leitao, Pereira and Rodrigues, *HyParView: a membership protocol for reliable gossip-based
broadcast* (DSN 2007). The *active* view is small and symmetric, and all of it is used, so that
each broadcast tests each link; the *passive* view costs nothing but the exchange of contacts, and
is what survives when nine tenths of the nodes fail at once.

    JoinRequest         the contact takes the newcomer in, and sends random walks out   (4.2)
    JoinWalk            where one ends, the newcomer gets a neighbour; on the way, a contact
    NeighbourRequest    a place is free: one of the contacts is asked; urgently, and then it
                        must, by who has no neighbour left                              (4.3)
    Shuffle             contacts are exchanged at the end of a random walk              (4.4)
    Disconnect          a place was needed for somebody else

Beyond the paper: when a neighbour is lost, and when somebody looks for one (because it has lost
one), the other links are tested at once, for failures come in groups, and a node whose neighbours
are all gone without its knowledge would decline, with a full view. Who uses a link that is none
here hears of it, so that a lost Disconnect heals; and who is alone calls its seeds again.

Invariants: a node is in one view at most, and never in its own; neither view exceeds its size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from random import Random

from protocol.clocks import Nanoseconds
from protocol.config import OverlayConfig
from protocol.identity import NodeId
from protocol.messages.overlay import (
    Contact,
    Disconnect,
    JoinRequest,
    JoinWalk,
    LinkTest,
    NeighbourReply,
    NeighbourRequest,
    Shuffle,
    ShuffleReply,
    ViewMessage,
)
from protocol.timers import Timers
from protocol.turn import Turn


class PartialView:
    """See the module's text. `up` and `down` are called with each neighbour won and lost."""

    def __init__(
        self,
        own: Contact,
        seeds: Sequence[str],
        config: OverlayConfig,
        random: Random,
        timers: Timers,
        now: Nanoseconds,
        up: Callable[[Turn, NodeId], None],
        down: Callable[[Turn, NodeId], None],
    ) -> None:
        self.own = own
        self.seeds = tuple(seed for seed in seeds if seed not in own.endpoints)
        self._config = config
        self._random = random
        self._timers = timers
        self._up = up
        self._down = down
        self._active: dict[NodeId, Contact] = {}
        self._passive: dict[NodeId, Contact] = {}
        self._asked: dict[NodeId, int] = {}  # contact -> number of the request that is open
        self._declined: set[NodeId] = set()  # since the last shuffle
        self._offered: list[NodeId] = []  # in the last shuffle, so these may go first
        self._requests = 0
        self._tested_at = now - config.request_timeout_ns
        timers.set(now, self._join)
        timers.set(now + random.randrange(config.shuffle_interval_ns), self._cycle)

    def __repr__(self) -> str:
        return f"<PartialView {self.own.node[:6]} {len(self._active)} + {len(self._passive)}>"

    @property
    def active(self) -> list[NodeId]:
        """The neighbours."""
        return list(self._active)

    @property
    def passive(self) -> list[NodeId]:
        """The contacts that are no neighbours."""
        return list(self._passive)

    def is_neighbour(self, node: NodeId) -> bool:
        return node in self._active

    def endpoints_of(self, node: NodeId) -> tuple[str, ...]:
        """Where a neighbour or contact can be reached; () for a stranger."""
        contact = self._active.get(node) or self._passive.get(node)
        return contact.endpoints if contact else ()

    # -- inputs --------------------------------------------------------------------------------

    def receive(self, turn: Turn, sender: NodeId, message: ViewMessage) -> None:
        """Take a message from another node."""
        match message:
            case JoinRequest():
                self._take_in(turn, message.newcomer)
            case JoinWalk():
                self._walk(turn, sender, message)
            case NeighbourRequest():
                self._answer(turn, message)
            case NeighbourReply():
                self._answered(turn, sender, message)
            case Disconnect():
                self._disconnected(turn, sender)
            case Shuffle():
                self._shuffle(turn, sender, message)
            case ShuffleReply():
                self._integrate(message.contacts, self._offered)
            case LinkTest():
                self._check_link(turn, sender)

    def lost(self, turn: Turn, node: NodeId) -> None:
        """It cannot be reached: neighbours are replaced, contacts dropped (4.3)."""
        self._asked.pop(node, None)
        self._passive.pop(node, None)
        if self._active.pop(node, None) is not None:
            self._down(turn, node)
            self._test_links(turn)
        self._fill(turn)

    # -- joining (4.2) -----------------------------------------------------------------------------

    def _join(self, turn: Turn) -> None:
        if self.seeds:
            turn.send_to_endpoint(self._random.choice(self.seeds), JoinRequest(self.own))

    def _take_in(self, turn: Turn, newcomer: Contact) -> None:
        if newcomer.node == self.own.node:
            return
        self._add_active(turn, newcomer)
        turn.send(newcomer.node, NeighbourReply(self.own, accepted=True))
        walk = JoinWalk(newcomer, self._config.join_walk)
        for node in self._active:
            if node != newcomer.node:
                turn.send(node, walk)

    def _walk(self, turn: Turn, sender: NodeId, walk: JoinWalk) -> None:
        newcomer = walk.newcomer
        if newcomer.node == self.own.node:
            return
        onward = [node for node in self._active if node not in (sender, newcomer.node)]
        if walk.hops <= 0 or not onward:
            if newcomer.node not in self._active:
                self._add_active(turn, newcomer)
                turn.send(newcomer.node, NeighbourRequest(self.own, urgent=True))
            return
        if walk.hops == self._config.join_walk_passive:
            self._add_passive(newcomer)
        hops = min(walk.hops, self._config.join_walk) - 1
        turn.send(self._random.choice(onward), JoinWalk(newcomer, hops))

    # -- neighbours (4.3) --------------------------------------------------------------------------

    def _add_active(self, turn: Turn, contact: Contact) -> None:
        """Whoever stands in the way has to go, at random; it stays a contact."""
        node = contact.node
        if node == self.own.node or node in self._active:
            return
        if len(self._active) >= self._config.active_max:
            self._drop(turn, self._random.choice(list(self._active)))
        self._passive.pop(node, None)
        self._asked.pop(node, None)
        self._active[node] = contact
        self._up(turn, node)

    def _drop(self, turn: Turn, node: NodeId) -> None:
        turn.send(node, Disconnect())
        contact = self._active.pop(node)
        self._down(turn, node)
        self._add_passive(contact)

    def _disconnected(self, turn: Turn, sender: NodeId) -> None:
        contact = self._active.pop(sender, None)
        if contact is None:
            return
        self._down(turn, sender)
        self._fill(turn)  # not with the one that has just left
        self._add_passive(contact)

    def _fill(self, turn: Turn) -> None:
        """Ask one contact for each free place, until all have been asked in this cycle."""
        free = self._config.active_max - len(self._active) - len(self._asked)
        if free <= 0:
            return
        declined = self._declined if self._active else ()  # an urgent request is not declined
        candidates = [
            node for node in self._passive if node not in self._asked and node not in declined
        ]
        for node in self._random.sample(candidates, min(free, len(candidates))):
            self._requests += 1
            self._asked[node] = self._requests
            turn.send(node, NeighbourRequest(self.own, urgent=not self._active))
            timeout = turn.now + self._config.request_timeout_ns
            self._timers.set(timeout, self._unanswered, node, self._requests)

    def _unanswered(self, turn: Turn, node: NodeId, request: int) -> None:
        if self._asked.get(node) == request:
            self.lost(turn, node)

    def _answer(self, turn: Turn, request: NeighbourRequest) -> None:
        contact = request.sender
        is_welcome = (
            request.urgent
            or contact.node in self._active
            or len(self._active) < self._config.active_max
        )
        self._test_links(turn)
        if is_welcome:
            self._add_active(turn, contact)
        turn.send(contact.node, NeighbourReply(self.own, is_welcome))

    def _test_links(self, turn: Turn) -> None:
        """Seldom, for a test may well be the answer to another's."""
        if turn.now >= self._tested_at + self._config.request_timeout_ns:
            self._tested_at = turn.now
            for node in self._active:
                turn.send(node, LinkTest())

    def _check_link(self, turn: Turn, sender: NodeId) -> None:
        if sender not in self._active and sender not in self._asked:
            turn.send(sender, Disconnect())

    def _answered(self, turn: Turn, sender: NodeId, reply: NeighbourReply) -> None:
        if sender != reply.sender.node:
            return
        was_asked = self._asked.pop(sender, None) is not None
        if not reply.accepted:
            self._declined.add(sender)
            self._fill(turn)
        elif sender in self._active:
            return
        elif was_asked and len(self._active) >= self._config.active_max:
            turn.send(sender, Disconnect())  # the place was taken meanwhile
        else:
            self._add_active(turn, reply.sender)

    # -- contacts (4.4) ----------------------------------------------------------------------------

    def _cycle(self, turn: Turn) -> None:
        self._timers.set(turn.now + self._config.shuffle_interval_ns, self._cycle)
        self._declined.clear()
        if not self._active and not self._passive:
            self._join(turn)
            return
        self._fill(turn)
        if not self._active:
            return
        neighbours = self._some(self._active, self._config.shuffle_active)
        contacts = self._some(self._passive, self._config.shuffle_passive)
        self._offered = [contact.node for contact in contacts]
        shuffle = Shuffle(self.own, self._config.shuffle_walk, (*neighbours, *contacts))
        turn.send(self._random.choice(list(self._active)), shuffle)

    def _shuffle(self, turn: Turn, sender: NodeId, shuffle: Shuffle) -> None:
        self._check_link(turn, sender)
        origin = shuffle.origin
        if origin.node == self.own.node:
            return
        onward = [node for node in self._active if node not in (sender, origin.node)]
        hops = min(shuffle.hops, self._config.shuffle_walk) - 1
        if hops > 0 and onward:
            turn.send(self._random.choice(onward), Shuffle(shuffle.origin, hops, shuffle.contacts))
            return
        given = self._some(self._passive, len(shuffle.contacts) + 1)
        turn.send(origin.node, ShuffleReply(tuple(given)))
        self._integrate((origin, *shuffle.contacts), [contact.node for contact in given])

    def _integrate(self, contacts: Iterable[Contact], sent: Iterable[NodeId]) -> None:
        """Room is made by what the other side has got, and then at random."""
        spare = [node for node in sent if node in self._passive]
        limit = self._config.shuffle_active + self._config.shuffle_passive + 1
        for contact in list(contacts)[:limit]:
            is_new = contact.node not in self._passive and contact.node not in self._active
            if is_new and len(self._passive) >= self._config.passive_max and spare:
                self._passive.pop(spare.pop(), None)
            self._add_passive(contact)

    def _add_passive(self, contact: Contact) -> None:
        node = contact.node
        if node == self.own.node or node in self._active or node in self._passive:
            return
        if len(self._passive) >= self._config.passive_max:
            del self._passive[self._random.choice(list(self._passive))]
        self._passive[node] = contact

    def _some(self, view: dict[NodeId, Contact], count: int) -> list[Contact]:
        return self._random.sample(list(view.values()), min(count, len(view)))
