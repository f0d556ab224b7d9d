"""Links between simulated nodes: delay, loss, repetition, and cuts.

A cut loses messages silently, as a dropped packet does; a crashed node refuses them, as a closed
port does. Links keep no order among themselves: a later message may overtake an earlier one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random

from protocol.clocks import MILLISECOND, Nanoseconds


@dataclass(slots=True)
class Network:
    """Conditions on all links. `blocked` holds directed pairs (from, to) of node numbers."""

    random: Random
    delay_min_ns: Nanoseconds = MILLISECOND // 5
    delay_mean_ns: Nanoseconds = MILLISECOND
    loss: float = 0.0
    duplication: float = 0.0
    blocked: set[tuple[int, int]] = field(default_factory=set)

    def deliveries(self, sender: int, receiver: int) -> list[Nanoseconds]:
        """After how long each copy of a message arrives; empty if it is lost."""
        if (sender, receiver) in self.blocked or self.random.random() < self.loss:
            return []
        copies = 2 if self.random.random() < self.duplication else 1
        return [self.delay() for _ in range(copies)]

    def delay(self) -> Nanoseconds:
        """A delay with a long tail."""
        return self.delay_min_ns + int(self.random.expovariate(1.0) * self.delay_mean_ns)

    def cut(self, one: Iterable[int], other: Iterable[int], both_ways: bool = True) -> None:
        """Block every link from `one` to `other`, and back unless it is a one-way cut."""
        others = list(other)
        for a in one:
            for b in others:
                self.blocked.add((a, b))
                if both_ways:
                    self.blocked.add((b, a))

    def heal(self) -> None:
        """Every link works again, and works well."""
        self.blocked.clear()
        self.loss = 0.0
        self.duplication = 0.0
