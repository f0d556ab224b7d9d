"""Neighbours and trees as one machine, with the inputs that a host has for every machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from protocol.clocks import Nanoseconds
from protocol.config import OverlayConfig
from protocol.events import LinkFault
from protocol.identity import NOBODY, NodeId
from protocol.messages.overlay import (
    Contact,
    OverlayMessage,
    TreeGraft,
    TreeHave,
    TreePrune,
    TreePush,
)
from protocol.overlay.broadcast_tree import BroadcastTree
from protocol.overlay.partial_view import PartialView
from protocol.timers import Timers
from protocol.turn import Turn


class Overlay:
    """A node's part of the overlay. `deliver` is called once with each broadcast."""

    def __init__(
        self,
        own: Contact,
        seeds: Sequence[str],
        config: OverlayConfig,
        random: Random,
        now: Nanoseconds,
        deliver: Callable[[Turn, bytes], None],
    ) -> None:
        self._timers = Timers()
        self.tree = BroadcastTree(config, random, self._timers, deliver)
        self.view = PartialView(
            own, seeds, config, random, self._timers, now, self.tree.up, self.tree.down
        )

    def __repr__(self) -> str:
        return f"<Overlay {self.view!r}>"

    def broadcast(self, turn: Turn, payload: bytes) -> bytes:
        """Tell everybody; the identity of the broadcast is returned."""
        return self.tree.broadcast(turn, payload)

    def receive(self, turn: Turn, sender: NodeId, message: OverlayMessage) -> None:
        """Take a message from another node."""
        match message:
            case TreePush() | TreeHave() | TreeGraft() | TreePrune():
                if self.view.is_neighbour(sender) or isinstance(message, TreePush):
                    self.tree.receive(turn, sender, message)
            case _:
                self.view.receive(turn, sender, message)

    def undeliverable(
        self, turn: Turn, destination: NodeId, endpoint: str, fault: LinkFault, detail: str
    ) -> None:
        """A connection that fails is the failure detector (HyParView, section 4.1)."""
        if destination != NOBODY and fault is not LinkFault.OVERFLOW:
            self.view.lost(turn, destination)

    def tick(self, turn: Turn) -> None:
        """Serve the timers that are due."""
        self._timers.fire(turn)

    def deadline(self) -> Nanoseconds:
        """When `tick` has something to do."""
        return self._timers.deadline()

    def flush(self, turn: Turn) -> None:
        """Nothing waits for the end of a step."""
