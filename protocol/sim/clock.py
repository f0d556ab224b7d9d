"""A host's clocks: a monotonic one that starts anywhere and may run fast or slow, and a wall clock
that may be wrong by another amount after each start.

Invariant: within one life a host's monotonic reading never goes back, and `world_time` is its
inverse: the first moment of the world at which the clock reads at least that much.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from protocol.clocks import SECOND, Nanoseconds

WALL_START: Nanoseconds = 1_700_000_000 * SECOND
BOOTED_MAX: Nanoseconds = 100_000 * SECOND  # a monotonic clock counts from some boot in the past
_PARTS = 1_000_000


@dataclass(frozen=True, slots=True)
class ClockConditions:
    """How wrong clocks may be. `drift_ppm` is the largest deviation of the rate, in millionths;
    `skew_ns` that of the wall clock, drawn anew at each start; `booted`: monotonic clocks start
    at a drawn reading, else they read the world's time."""

    drift_ppm: int = 0
    skew_ns: Nanoseconds = 0
    booted: bool = False

    def __str__(self) -> str:
        return f"drift={self.drift_ppm}ppm skew={self.skew_ns / SECOND:g}s booted={self.booted}"


class HostClock:
    """The two clocks of one host in its present life."""

    __slots__ = ("_host_base", "_rate", "_world_base", "conditions", "is_exact", "wall_offset")

    def __init__(self, conditions: ClockConditions) -> None:
        self.conditions = conditions
        self.is_exact = True  # reads the world's time: the common case, worth a short cut
        self.wall_offset = WALL_START
        self._world_base = self._host_base = 0
        self._rate = _PARTS

    def restart(self, now: Nanoseconds, random: Random) -> None:
        """A new life begins: the rate belongs to the machine, the readings are drawn anew."""
        drift, skew = self.conditions.drift_ppm, self.conditions.skew_ns
        if self._rate == _PARTS and drift:
            self._rate += random.randint(-drift, drift)
        self._world_base = now
        self._host_base = random.randrange(BOOTED_MAX) if self.conditions.booted else now
        wrong_by = random.randint(-skew, skew) if skew else 0
        self.wall_offset = WALL_START + now + wrong_by - self._host_base
        self.is_exact = self._rate == _PARTS and self._host_base == now

    def reading(self, now: Nanoseconds) -> Nanoseconds:
        """What the monotonic clock reads at a moment of the world."""
        return self._host_base + (now - self._world_base) * self._rate // _PARTS

    def world_time(self, reading: Nanoseconds) -> Nanoseconds:
        """The first moment of the world at which it reads at least this."""
        return self._world_base - (self._host_base - reading) * _PARTS // self._rate
