"""Broadcast over neighbours, at the price of a tree and with the reliability of a flood: Plumtree.

Leitao, Pereira and Rodrigues, *Epidemic Broadcast Trees* (SRDS 2007). Payloads go to *eager*
neighbours at once; the *lazy* ones are only told which there are. The first broadcast is a flood:
whoever gets it a second time prunes that link, and what is left is a tree.

    TreePush     first seen: deliver, push on, tell the lazy ones; the link is of the tree  (3.3)
                 seen before: Prune, and the link is lazy from now on, both ways
    TreeHave     not seen: wait a while for the tree, then Graft from who has it            (3.4)
    TreeGraft    the link is of the tree again, and the payload is sent
    a way that is shorter by some hops takes the place of the tree's                        (3.5)

Invariant: eager and lazy are disjoint, and together they are the neighbours.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from itertools import islice
from random import Random

from protocol.config import OverlayConfig
from protocol.identity import NodeId
from protocol.messages.overlay import TreeGraft, TreeHave, TreeMessage, TreePrune, TreePush
from protocol.timers import Timers
from protocol.turn import Turn

IDENTITY_SIZE = 16  # bytes, drawn at random: two broadcasts never share one
HOPS_MAX = 2**31
RECENT = 16  # broadcasts that a new neighbour is told of
SEEN_PER_KEPT = 8  # so many times more identities are remembered than payloads
HAVES_MAX = 1_000  # identities in one TreeHave
MISSING_MAX = 10_000  # broadcasts that are waited for; who tells of more is not believed


class BroadcastTree:
    """See the module's text. `deliver` is called once with each broadcast, also this node's."""

    def __init__(
        self,
        config: OverlayConfig,
        random: Random,
        timers: Timers,
        deliver: Callable[[Turn, bytes], None],
    ) -> None:
        self._config = config
        self._random = random
        self._timers = timers
        self._deliver = deliver
        self._eager: dict[NodeId, None] = {}
        self._lazy: dict[NodeId, None] = {}
        self._kept: OrderedDict[bytes, TreePush] = OrderedDict()
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        self._missing: dict[bytes, list[tuple[NodeId, int]]] = {}  # who has it, at how many hops
        self._haves: dict[NodeId, list[tuple[bytes, int]]] = {}  # to be told soon
        self.duplicates = 0  # payloads that came again

    @property
    def eager(self) -> list[NodeId]:
        """The neighbours along the tree."""
        return list(self._eager)

    @property
    def lazy(self) -> list[NodeId]:
        """The others."""
        return list(self._lazy)

    def has_seen(self, identity: bytes) -> bool:
        """Whether this broadcast has been delivered here, as far as that is remembered."""
        return identity in self._seen

    # -- inputs --------------------------------------------------------------------------------

    def broadcast(self, turn: Turn, payload: bytes) -> bytes:
        """Tell everybody; the identity of the broadcast is returned."""
        identity = self._random.randbytes(IDENTITY_SIZE)
        self._take(turn, TreePush(identity, 0, payload), None)
        return identity

    def receive(self, turn: Turn, sender: NodeId, message: TreeMessage) -> None:
        """Take a message from a neighbour."""
        match message:
            case TreePush():
                self._pushed(turn, sender, message)
            case TreeHave():
                for identity, hops in message.broadcasts:
                    self._told(turn, sender, identity, hops)
            case TreeGraft():
                self._make_eager(sender)
                kept = self._kept.get(message.identity)
                if kept is not None:
                    turn.send(sender, kept)
            case TreePrune():
                self._make_lazy(sender)

    def up(self, turn: Turn, node: NodeId) -> None:
        """A new neighbour: eager, so that a new link is tried (3.6). Beyond the paper it is told of
        what went round lately: after many failures it may have been cut off meanwhile."""
        self._lazy.pop(node, None)
        self._eager[node] = None
        recent = list(islice(reversed(self._kept.values()), RECENT))
        if recent:
            self._have(turn, node, [(push.identity, push.hops) for push in reversed(recent)])

    def down(self, turn: Turn, node: NodeId) -> None:
        """A neighbour is lost. What only it had is grafted from others when they tell of it."""
        self._eager.pop(node, None)
        self._lazy.pop(node, None)
        self._haves.pop(node, None)
        for identity, known in self._missing.items():
            self._missing[identity] = [each for each in known if each[0] != node]

    # -- the tree (3.3) ----------------------------------------------------------------------------

    def _pushed(self, turn: Turn, sender: NodeId, push: TreePush) -> None:
        if push.identity in self._seen:
            self.duplicates += 1
            self._make_lazy(sender)
            turn.send(sender, TreePrune())
            return
        hops = min(push.hops, HOPS_MAX) + 1
        known = self._missing.pop(push.identity, ())
        self._make_eager(sender)
        self._take(turn, TreePush(push.identity, hops, push.payload), sender)
        self._shorten(turn, sender, hops, known)

    def _take(self, turn: Turn, push: TreePush, sender: NodeId | None) -> None:
        self._seen[push.identity] = None
        self._kept[push.identity] = push
        while len(self._kept) > self._config.broadcasts_kept:
            self._kept.popitem(last=False)
        while len(self._seen) > SEEN_PER_KEPT * self._config.broadcasts_kept:
            self._seen.popitem(last=False)
        self._deliver(turn, push.payload)
        for node in self._eager:
            if node != sender:
                turn.send(node, push)
        for node in self._lazy:
            if node != sender:
                self._have(turn, node, [(push.identity, push.hops)])

    def _have(self, turn: Turn, node: NodeId, broadcasts: list[tuple[bytes, int]]) -> None:
        if not self._haves:
            self._timers.set(turn.now + self._config.have_delay_ns, self._tell)
        self._haves.setdefault(node, []).extend(broadcasts)

    def _tell(self, turn: Turn) -> None:
        haves, self._haves = self._haves, {}
        for node, broadcasts in haves.items():
            for at in range(0, len(broadcasts), HAVES_MAX):
                turn.send(node, TreeHave(tuple(broadcasts[at : at + HAVES_MAX])))

    def _make_eager(self, node: NodeId) -> None:
        if node in self._lazy:
            del self._lazy[node]
            self._eager[node] = None

    def _make_lazy(self, node: NodeId) -> None:
        if node in self._eager:
            del self._eager[node]
            self._lazy[node] = None

    # -- what the tree did not bring (3.4) ---------------------------------------------------------

    def _told(self, turn: Turn, sender: NodeId, identity: bytes, hops: int) -> None:
        if identity in self._seen:
            return
        known = self._missing.get(identity)
        if known is None:
            if len(self._missing) >= MISSING_MAX:
                return
            known = self._missing[identity] = []
            self._timers.set(turn.now + self._config.missing_timeout_ns, self._graft, identity)
        known.append((sender, hops))

    def _graft(self, turn: Turn, identity: bytes) -> None:
        known = self._missing.get(identity)
        if known is None:
            return
        if not known:
            del self._missing[identity]  # whoever has it will say so again, or sync repairs it
            return
        node, _ = known.pop(0)
        self._make_eager(node)
        turn.send(node, TreeGraft(identity))
        self._timers.set(turn.now + self._config.graft_timeout_ns, self._graft, identity)

    # -- shorter ways (3.5) ------------------------------------------------------------------------

    def _shorten(
        self, turn: Turn, sender: NodeId, hops: int, known: list[tuple[NodeId, int]] | tuple[()]
    ) -> None:
        """Whoever told of it before it came, and had it by so many hops less, is the better way."""
        if not known:
            return
        node, least = min(known, key=lambda each: each[1])
        is_shorter = hops - (least + 1) >= self._config.shortcut_hops
        if is_shorter and node != sender and node in self._lazy:
            self._make_eager(node)
            self._make_lazy(sender)
            turn.send(node, TreeGraft(b""))
            turn.send(sender, TreePrune())
