"""Bad links made on purpose, for studies: cuts, loss, delay and repetition, frame by frame.

A cut is silent as that of a cable: nobody is told, nothing is refused, dials hang. Cuts act at
both ends (`drop_to` on what leaves, `drop_from` on what arrives), so one node can be made deaf or
mute alone; loss, delay and repetition act on what leaves.

Invariant: with the same faults, seed and sequence of frames, the same frames suffer the same fate.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from protocol.identity import NodeId

DELAY_MAX_S = 60.0
DELAYED_MAX = 16_384  # frames on their way at once; more are lost, as in a full router


@dataclass(frozen=True, slots=True)
class LinkQuality:
    """How frames fare. `loss` and `duplicate` are probabilities; the delay is drawn evenly between
    `delay_s` and `delay_s + jitter_s`, so jitter lets frames overtake each other."""

    loss: float = 0.0
    delay_s: float = 0.0
    jitter_s: float = 0.0
    duplicate: float = 0.0

    def __post_init__(self) -> None:
        if not (0.0 <= self.loss <= 1.0 and 0.0 <= self.duplicate <= 1.0):
            raise ValueError("loss and duplicate are probabilities: use values in 0..1")
        if not (self.delay_s >= 0.0 and self.jitter_s >= 0.0):
            raise ValueError("delay_s and jitter_s must not be negative")
        if self.delay_s + self.jitter_s > DELAY_MAX_S:
            raise ValueError(f"delay_s and jitter_s must not exceed {DELAY_MAX_S:g} s together")


@dataclass(frozen=True, slots=True)
class LinkFaults(LinkQuality):
    """What is wrong with this node's links; the default is: nothing. The quality is that of all
    links, save those to the nodes in `quality`."""

    drop_to: frozenset[NodeId] = frozenset()
    drop_from: frozenset[NodeId] = frozenset()
    quality: Mapping[NodeId, LinkQuality] = field(default_factory=dict)
    seed: int = 0

    def is_cut(self, node: NodeId) -> bool:
        """Whether no connection can be made with the node: that takes both directions."""
        return node in self.drop_to or node in self.drop_from


class FaultDraw:
    """Faults in force, with the randomness that decides for each frame."""

    __slots__ = ("_random", "faults")

    def __init__(self, faults: LinkFaults) -> None:
        self.faults = faults
        self._random = random.Random(f"link faults {faults.seed}")

    def deliveries(self, node: NodeId) -> tuple[float, ...]:
        """After how many seconds each copy of a frame for `node` leaves; empty if it is lost."""
        quality = self.faults.quality.get(node, self.faults)
        if self._random.random() < quality.loss:
            return ()
        copies = 2 if self._random.random() < quality.duplicate else 1
        return tuple(
            quality.delay_s + quality.jitter_s * self._random.random() for _ in range(copies)
        )
