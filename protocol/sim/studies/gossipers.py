"""Crowds of gossip machines whose members never change: where studies of the store begin."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from protocol.clocks import Nanoseconds
from protocol.config import GossipConfig
from protocol.events import LinkFault
from protocol.gossip import Gossip, GossipMessage
from protocol.identity import NOBODY, NodeId
from protocol.messages.sharing import Summary
from protocol.sim.crowd import Crowd, Place
from protocol.sim.signatures import Secrets, SimulatedIdentity
from protocol.store import Store
from protocol.turn import Turn


class Gossiper:
    """A gossip machine with members that never change, as a machine of a crowd. `source` is the
    message that the present step takes and who sent it; None in a step of its own."""

    def __init__(self, gossip: Gossip) -> None:
        self.gossip = gossip
        self.others: list[NodeId] = []
        self.source: tuple[NodeId, GossipMessage] | None = None

    def summary(self) -> Summary:
        return Summary(self.gossip.store.fingerprint(), b"", False, 0, 0, NOBODY)

    def write(self, turn: Turn, key: str, value: bytes) -> None:
        """As a peer's own."""
        self.source = None
        self.gossip.write(turn, [(key, value)])

    def receive(self, turn: Turn, sender: NodeId, message: GossipMessage) -> None:
        self.source = (sender, message)
        self.gossip.receive(turn, sender, message)

    def tick(self, turn: Turn) -> None:
        self.source = None
        self.gossip.keep_pace(turn)
        self.gossip.collect(turn, self.others)
        partner = self.gossip.summary_due(turn, self.others)
        if partner is not None:
            turn.send(partner, self.summary())

    def deadline(self) -> Nanoseconds:
        return self.gossip.deadline()

    def flush(self, turn: Turn) -> None:
        if self.gossip.has_news:
            self.gossip.flush(turn, self.others, self.summary())

    def undeliverable(
        self, turn: Turn, destination: NodeId, endpoint: str, fault: LinkFault, detail: str
    ) -> None:
        if fault is LinkFault.OVERFLOW:
            self.gossip.overflowed()


def gossiping(size: int, seed: str, config: GossipConfig) -> Crowd:
    """So many nodes with empty stores, each of which knows all the others."""
    crowd = Crowd(Random(f"{seed}/crowd"))
    settle(crowd, size, seed, config)
    nodes = [place.node for place in crowd.places]
    for place in crowd.places:
        gossiper_of(place).others = [node for node in nodes if node != place.node]
    return crowd


def neighbouring(
    crowd: Crowd, seed: str, config: GossipConfig, neighbours: Sequence[Sequence[int]]
) -> None:
    """Settle nodes with empty stores, each of which knows its neighbours only."""
    settle(crowd, len(neighbours), seed, config)
    for place, known in zip(crowd.places, neighbours, strict=True):
        gossiper_of(place).others = [crowd.places[number].node for number in known]


def settle(crowd: Crowd, size: int, seed: str, config: GossipConfig) -> None:
    """So many nodes with empty stores, none of which knows anybody yet."""
    secrets: Secrets = {}
    for number in range(size):
        identity = SimulatedIdentity((number + 1).to_bytes(32, "big"), secrets)
        store = Store(identity, "study", config.entries_per_author_max)
        machine = Gossiper(Gossip(store, config, Random(f"{seed}/{number}"), 0))
        crowd.add(identity.node, f"g{number}:1", machine)


def gossiper_of(place: Place) -> Gossiper:
    """The machine at such a place."""
    assert isinstance(place.machine, Gossiper)
    return place.machine
