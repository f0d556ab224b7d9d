"""How old what is read is.

Values of a key are numbered from 1. A key is stale at a reader from the moment at which its owner
*wanted* to write a value that the reader does not have: what waits in the owner's queue is stale
too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from protocol.clocks import SECOND, Nanoseconds
from protocol.sim.crowd import Place
from protocol.sim.studies.gossipers import gossiper_of


@dataclass(frozen=True, slots=True)
class Staleness:
    """Seconds, over all readers and keys at one time."""

    mean_s: float
    max_s: float


def staleness(
    readers: Sequence[Place], wanted: Mapping[str, Sequence[Nanoseconds]], now: Nanoseconds
) -> Staleness:
    """Of these keys at these readers; `wanted` has when each value of a key was wanted."""
    found = []
    for place in readers:
        store = gossiper_of(place).gossip.store
        for key, times in wanted.items():
            versions = store.read(key)
            have = int.from_bytes(versions[0].value, "big") if versions else 0
            late = now - times[have] if have < len(times) else 0
            found.append(late / SECOND)
    return Staleness(mean(found), max(found)) if found else Staleness(0.0, 0.0)
