"""One partial view or tree, fed by hand: what it says to whom."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from protocol.clocks import SECOND, Nanoseconds
from protocol.config import OverlayConfig
from protocol.events import LinkFault
from protocol.identity import NodeId
from protocol.messages import Message
from protocol.messages.overlay import Contact, OverlayMessage
from protocol.overlay import Overlay
from protocol.turn import Turn

CONFIG = replace(OverlayConfig(), active_max=3, passive_max=5)


def contact(name: str) -> Contact:
    return Contact(NodeId(name), (f"{name}:1",))


class Hand:
    """An overlay machine called `me`."""

    def __init__(self, config: OverlayConfig = CONFIG, seeds: tuple[str, ...] = ()) -> None:
        self.now: Nanoseconds = 0
        self.delivered: list[bytes] = []
        self.machine = Overlay(contact("me"), seeds, config, Random(1), 0, self._deliver)
        self.view = self.machine.view
        self.tree = self.machine.tree

    def _deliver(self, turn: Turn, payload: bytes) -> None:
        self.delivered.append(payload)

    def say(self, sender: str, message: OverlayMessage) -> list[tuple[str, Message]]:
        """What is answered, to whom."""
        turn = self.turn()
        self.machine.receive(turn, NodeId(sender), message)
        return self.sent(turn)

    def break_link(self, node: str) -> list[tuple[str, Message]]:
        turn = self.turn()
        self.machine.undeliverable(turn, NodeId(node), "", LinkFault.RESET, "")
        return self.sent(turn)

    def broadcast(self, payload: bytes) -> list[tuple[str, Message]]:
        turn = self.turn()
        self.machine.broadcast(turn, payload)
        return self.sent(turn)

    def wait(self, duration: Nanoseconds = SECOND) -> list[tuple[str, Message]]:
        """Serve the timers that come due."""
        end, sent = self.now + duration, []
        while self.machine.deadline() <= end:
            self.now = max(self.now, self.machine.deadline())
            turn = self.turn()
            self.machine.tick(turn)
            sent += self.sent(turn)
        self.now = end
        return sent

    def turn(self) -> Turn:
        return Turn(self.now, self.now, 1)

    @staticmethod
    def sent(turn: Turn) -> list[tuple[str, Message]]:
        found = []
        for item in turn.before:
            assert isinstance(item, tuple)
            destination, endpoint, message = item
            found.append((destination or endpoint, message))
        return found  # type: ignore[return-value]
