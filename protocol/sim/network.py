"""Links between simulated nodes: delay, loss, repetition, damage, and cuts.

A cut loses messages silently, as a dropped packet does; a crashed node refuses them, as a closed
port does. Unless links are `ordered`, a later message may overtake an earlier one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from typing import TypeAlias

from protocol.clocks import MILLISECOND, Nanoseconds

Link: TypeAlias = tuple[int, int]  # from, to: node numbers


@dataclass(frozen=True, slots=True)
class LinkConditions:
    """What all links are like. A message has to wait in a long `tail` with that probability; the
    links of every `slow_every`-th pair (0: none) are slow. Loss, duplication and corruption are
    probabilities too. `ordered`: like TCP, nothing overtakes."""

    delay_min_ns: Nanoseconds = MILLISECOND // 5
    delay_mean_ns: Nanoseconds = MILLISECOND
    tail: float = 0.0
    slow_every: int = 0
    loss: float = 0.0
    duplication: float = 0.0
    corruption: float = 0.0
    ordered: bool = False

    def __str__(self) -> str:
        return (
            f"delay={self.delay_mean_ns / MILLISECOND:g}ms tail={self.tail:g} "
            f"slow_every={self.slow_every} loss={self.loss:g} duplication={self.duplication:g} "
            f"corruption={self.corruption:g} ordered={self.ordered}"
        )


TAIL_FACTOR = 40
SLOW_FACTOR = 10


@dataclass(slots=True)
class Network:
    """Conditions on all links now. `blocked` is the union of all `cuts`."""

    random: Random
    delay_min_ns: Nanoseconds = MILLISECOND // 5
    delay_mean_ns: Nanoseconds = MILLISECOND
    loss: float = 0.0
    duplication: float = 0.0
    corruption: float = 0.0
    tail: float = 0.0
    slow_every: int = 0
    ordered: bool = False
    blocked: frozenset[Link] = frozenset()
    cuts: dict[str, frozenset[Link]] = field(default_factory=dict)
    _arrivals: dict[Link, Nanoseconds] = field(default_factory=dict)  # of ordered links: the latest

    def set(self, conditions: LinkConditions) -> None:
        """Let all links be like this."""
        self.delay_min_ns = conditions.delay_min_ns
        self.delay_mean_ns = conditions.delay_mean_ns
        self.loss = conditions.loss
        self.duplication = conditions.duplication
        self.corruption = conditions.corruption
        self.tail = conditions.tail
        self.slow_every = conditions.slow_every
        self.ordered = conditions.ordered

    def deliveries(self, sender: int, receiver: int, now: Nanoseconds = 0) -> list[Nanoseconds]:
        """After how long each copy of a message arrives; empty if it is lost."""
        link = (sender, receiver)
        random = self.random.random
        if link in self.blocked or (self.loss and random() < self.loss):
            return []
        delay = self.delay()
        if self.slow_every and (sender + receiver) % self.slow_every == 0:
            delay *= SLOW_FACTOR
        if self.ordered:
            delay = max(delay, self._arrivals.get(link, 0) - now)
            self._arrivals[link] = now + delay
        if self.duplication and random() < self.duplication:
            return [delay, delay + self.delay()]
        return [delay]

    def delay(self) -> Nanoseconds:
        """A delay with a tail."""
        delay = self.delay_min_ns + int(self.random.expovariate(1.0) * self.delay_mean_ns)
        if self.tail and self.random.random() < self.tail:
            delay *= TAIL_FACTOR
        return delay

    def damage(self, frame: bytes) -> bytes:
        """The frame as it may arrive over a bad line: flipped, cut off, or garbled."""
        random = self.random
        at = random.randrange(len(frame))
        match random.randrange(3):
            case 0:
                instead = bytes((frame[at] ^ (1 << random.randrange(8)),))
            case 1:
                return frame[:at]
            case _:
                instead = random.randbytes(2 + random.randrange(7))
        return frame[:at] + instead + frame[at + 1 :]

    def cut(self, one: Iterable[int], other: Iterable[int], both_ways: bool = True) -> None:
        """Block every link from `one` to `other`, and back unless it is a one-way cut."""
        others = list(other)
        links = {(a, b) for a in one for b in others}
        if both_ways:
            links |= {(b, a) for a, b in links}
        self.block(f"cut {len(self.cuts)}", links)

    def block(self, name: str, links: Iterable[Link]) -> None:
        """Block these links until `unblock(name)` or `heal`."""
        self.cuts[name] = frozenset(links)
        self.blocked = frozenset().union(*self.cuts.values())

    def unblock(self, name: str) -> None:
        """End one cut; what others block stays blocked."""
        self.cuts.pop(name, None)
        self.blocked = frozenset().union(*self.cuts.values())

    def heal(self) -> None:
        """Every link works again, and works well."""
        self.cuts.clear()
        self.set(LinkConditions(self.delay_min_ns, self.delay_mean_ns))
        self.blocked = frozenset()
