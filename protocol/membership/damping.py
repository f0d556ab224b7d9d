"""Members that come and go: each return after a failure counts one, and what was counted fades.
Past a limit a member is *degraded*: it stays in the team and in gossip, and nothing is built on it
until it has been steady for a while (after route flap damping, RFC 2439)."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp2

from protocol.clocks import Nanoseconds
from protocol.identity import NodeId

DEGRADED_FROM = 3.0  # returns
STEADY_BELOW = 1.0
TRACKED_MAX = 10_000


@dataclass(slots=True)
class _Flaps:
    count: float
    at: Nanoseconds


class Damping:
    """See the module's text. What was counted halves every `half_life`."""

    def __init__(self, half_life: Nanoseconds) -> None:
        self._half_life = half_life
        self._flaps: dict[NodeId, _Flaps] = {}

    def returned(self, node: NodeId, now: Nanoseconds) -> bool:
        """Count a return; whether the node comes and goes too often now."""
        count = self.count(node, now) + 1.0
        self._flaps[node] = _Flaps(count, now)
        if len(self._flaps) > TRACKED_MAX:
            del self._flaps[next(iter(self._flaps))]
        return count >= DEGRADED_FROM

    def count(self, node: NodeId, now: Nanoseconds) -> float:
        """The returns of late."""
        flaps = self._flaps.get(node)
        if flaps is None:
            return 0.0
        return flaps.count * exp2((flaps.at - now) / self._half_life)

    def is_steady(self, node: NodeId, now: Nanoseconds) -> bool:
        """Whether a degraded node may be relied on again."""
        return self.count(node, now) < STEADY_BELOW
