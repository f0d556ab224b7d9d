"""More writes than exchanges can carry: how stale what is read gets, with and without a pace.

van Renesse, Dumitriu, Gough and Thomas, *Efficient Reconciliation and Flow Control for Anti-Entropy
Protocols* (LADIS 2008), sections 4 and 5: every node writes its keys in turn, for a while faster
than all links together can carry. Without flow control staleness grows as long as that lasts; with
additive increase and multiplicative decrease of the writers' rates it stays bounded, and the
writers get equal shares.

A key is stale at a reader from the moment at which its owner *wanted* to write a newer value: what
waits in the owner's queue is stale too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from protocol.clocks import MILLISECOND, SECOND, Nanoseconds
from protocol.config import GossipConfig
from protocol.sim.crowd import Crowd, Place
from protocol.sim.studies.gossipers import gossiper_of, gossiping
from protocol.sim.studies.staleness import Staleness, staleness
from protocol.sim.studies.table import Line, Study

NODES = 15
KEYS = 20  # of each node
VALUE_SIZE = 100  # bytes
CAPACITY = 60_000  # bytes a second that a node can send
OUTBOX_MAX = 64 * 1024  # bytes
CALM_RATE, HIGH_RATE = 2, 40  # writes a second of each node
CALM_NS: Nanoseconds = 10 * SECOND
OVERLOAD_NS: Nanoseconds = 60 * SECOND
AFTER_NS: Nanoseconds = 30 * SECOND
LOOK_EVERY: Nanoseconds = 2 * SECOND
PACED = GossipConfig(pace_min=1.0, pace_step=0.2, delta_size_max=16 * 1024)
UNPACED = replace(PACED, pace_min=1e9)


class Writers:
    """Everybody writes its keys in turn, numbered values."""

    def __init__(self, crowd: Crowd) -> None:
        self.crowd = crowd
        self.rate = float(CALM_RATE)
        self.wanted: dict[str, list[Nanoseconds]] = {}  # when each value of a key was wanted
        self.stops_at: Nanoseconds = 0

    def start(self, place: Place) -> None:
        """Begin at a random time of the first interval."""
        delay = int(self.crowd.random.random() * SECOND / self.rate)
        self.crowd.at(self.crowd.now + delay, self._write, place, 0)

    def _write(self, place: Place, number: int) -> None:
        if self.crowd.now >= self.stops_at:
            return
        key = f"{place.number}/{number % KEYS}"
        times = self.wanted.setdefault(key, [])
        times.append(self.crowd.now)
        value = len(times).to_bytes(VALUE_SIZE, "big")
        self.crowd.act(place, gossiper_of(place).write, key, value)
        self.crowd.at(self.crowd.now + int(SECOND / self.rate), self._write, place, number + 1)

    def staleness(self) -> Staleness:
        """Of all keys at all readers, now."""
        return staleness(self.crowd.places, self.wanted, self.crowd.now)


@dataclass(frozen=True, slots=True)
class Overload:
    """Staleness while it lasts, each LOOK_EVERY; how many entries each node has written in its
    second half; how long afterwards all is known everywhere (None: longer than AFTER_NS)."""

    during: tuple[Staleness, ...]
    written: tuple[int, ...]
    level_after_s: float | None

    @property
    def fairness(self) -> float:
        """Jain's index of the writers' shares: 1 if they are equal."""
        return sum(self.written) ** 2 / (len(self.written) * sum(each**2 for each in self.written))


def overload(
    config: GossipConfig, seed: int, nodes: int = NODES, capacity: int = CAPACITY
) -> Overload:
    """Calm, then too much, then nothing."""
    crowd = gossiping(nodes, str(seed), config)
    crowd.capacity, crowd.outbox_max = capacity, OUTBOX_MAX
    writers = Writers(crowd)
    writers.stops_at = CALM_NS + OVERLOAD_NS
    for place in crowd.places:
        writers.start(place)
    crowd.run(CALM_NS)
    writers.rate = HIGH_RATE
    during = []
    before: list[int] = []
    while crowd.now < writers.stops_at:
        crowd.run(crowd.now + LOOK_EVERY)
        during.append(writers.staleness())
        if crowd.now == CALM_NS + OVERLOAD_NS // 2:
            before = _written(crowd)
    written = tuple(now - then for now, then in zip(_written(crowd), before, strict=True))
    level: float | None = None
    while level is None and crowd.now < writers.stops_at + AFTER_NS:
        crowd.run(crowd.now + 250 * MILLISECOND)
        if writers.staleness().max_s == 0:
            level = (crowd.now - writers.stops_at) / SECOND
    return Overload(tuple(during), written, level)


def _written(crowd: Crowd) -> list[int]:
    return [gossiper_of(place).gossip.store.last_of(place.node) for place in crowd.places]


def study(seed: int = 1) -> Study:
    """With and without the pace."""
    unpaced, paced = overload(UNPACED, seed), overload(PACED, seed)
    lines = []
    for name, found in (("no pace", unpaced), ("AIMD pace", paced)):
        half, end = found.during[len(found.during) // 2], found.during[-1]
        lines += [
            Line(
                f"{name}: mean staleness after 30 s and 60 s of overload",
                f"{half.mean_s:.1f} s, {end.mean_s:.1f} s",
                "grows" if found is unpaced else "bounded",
                None if found is unpaced else end.mean_s < 1.2 * half.mean_s,
            ),
            Line(f"{name}: largest staleness after 60 s", f"{end.max_s:.1f} s"),
            Line(
                f"{name}: all level again after",
                f"> {AFTER_NS // SECOND} s"
                if found.level_after_s is None
                else f"{found.level_after_s:.1f} s",
            ),
        ]
    lines.append(
        Line(
            "AIMD pace: fairness among the authors (Jain's index)",
            f"{paced.fairness:.3f}",
            "fair",
            paced.fairness > 0.95,
        )
    )
    title = (
        f"Overload (van Renesse et al. 2008): {NODES} nodes, {CAPACITY // 1000} kB/s each, "
        f"{HIGH_RATE} writes a second wanted of each"
    )
    return Study("scuttlebutt", title, tuple(lines))
