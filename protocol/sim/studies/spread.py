"""How news spreads when everything is fixed: topology, fan-out, intervals, loss, cuts and load.

    setting = Setting(nodes=32, topology=topology_of("ring:2"), fanout=3, loss=0.1)
    row = run(setting, seed=0)

A team of gossip machines, the ones that run in a node, shares its store. Somebody writes a value of
its own at equal intervals for a while; then nobody does, and it goes on until everybody has
everything and the last cut is over, or for SETTLE_S at most. There is no membership and no log:
each node knows its neighbours from the start, and keeps them. What the seed draws is who writes,
whom a node tells, when ticks begin, delays, what is lost, and a random topology.

Messages are weighed as the codec makes them, without what TLS and WebSocket add. All that was sent
until the end counts, also what went into a cut and the ticks of nodes that have nothing to tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from math import isfinite
from random import Random
from statistics import median

from protocol.clocks import MILLISECOND, SECOND, Nanoseconds
from protocol.config import GossipConfig
from protocol.errors import InvalidStudy
from protocol.sim.crowd import Crowd, Scale
from protocol.sim.studies.arrivals import Arrivals, Written, pushed_share
from protocol.sim.studies.cut_shapes import CUTS_MAX, Cut, carrier
from protocol.sim.studies.gossipers import gossiper_of, neighbouring
from protocol.sim.studies.stale_time import joined, stale_during
from protocol.sim.studies.topology import FULL, Topology

SETTLE_S = 120  # beyond the last write and the last cut
KEYS = 4  # of each node, written in turn
PAIRS_MAX = 2_000_000  # of a write and a node: some ten minutes
HELD_MAX = 1024 * 1024 * 1024  # bytes of values in all stores


@dataclass(frozen=True, slots=True)
class Setting:
    """All that is fixed. A fan-out that is None is a node's own."""

    nodes: int = 16
    topology: Topology = FULL
    fanout: int | None = None  # how many a node tells what is new to it
    author_fanout: int | None = None  # how many its author tells; None: as many, if that is given
    tick_ms: int = 200
    quiet_tick_ms: int | None = None  # None: a node's own, or a tick if that is longer
    loss: float = 0.0  # probability, of each message
    delay_ms: float = 1.0  # mean; no message takes less than a fifth of it
    cuts: tuple[Cut, ...] = ()
    writes: float = 10.0  # a second, of the whole team
    size: int = 100  # bytes of a value
    until_s: float = 10.0  # writes end then

    @property
    def gossip(self) -> GossipConfig:
        """What the machines obey."""
        config = GossipConfig()
        quiet_ns = self.quiet_tick_ms and self.quiet_tick_ms * MILLISECOND
        tick_ns = self.tick_ms * MILLISECOND
        config = replace(
            config, tick_ns=tick_ns, quiet_tick_ns=quiet_ns or max(tick_ns, config.quiet_tick_ns)
        )
        if self.fanout is not None:
            config = replace(
                config,
                fanout_min=self.fanout,
                fanout_max=self.fanout,
                author_fanout=self.fanout,
            )
        if self.author_fanout is not None:
            config = replace(config, author_fanout=self.author_fanout)
        return config

    def check(self) -> None:
        """Refuse what cannot be had, or would take for ever."""
        for name in ("loss", "delay_ms", "writes", "until_s"):
            if not isfinite(getattr(self, name)):
                raise InvalidStudy(f"{name} is {getattr(self, name)}: give a number")
        self.topology.check(self.nodes)
        for cut in self.cuts:
            cut.check(self.nodes)
        if len(self.cuts) > CUTS_MAX:
            raise InvalidStudy(f"{len(self.cuts)} cuts: at most {CUTS_MAX} can be had")
        if self.quiet_tick_ms is not None and self.quiet_tick_ms < self.tick_ms:
            raise InvalidStudy(
                f"a quiet tick of {self.quiet_tick_ms} ms is shorter than a tick of {self.tick_ms} "
                "ms: make it as long at least"
            )
        if self.author_fanout is not None and self.author_fanout < (self.fanout or 0):
            raise InvalidStudy(
                f"an author tells no fewer than others do: make its fan-out {self.fanout} at least"
            )
        count = self.writes * self.until_s
        if count < 1:
            raise InvalidStudy(
                f"{self.writes:g} writes a second for {self.until_s:g} s are not even one: "
                "raise one of them"
            )
        if count * self.nodes > PAIRS_MAX or count * self.nodes * self.size > HELD_MAX:
            raise InvalidStudy(
                f"{count:.0f} writes of {self.size} bytes to {self.nodes} nodes are too many for "
                "one run: lower one of them"
            )


@dataclass(frozen=True, slots=True)
class Row:
    """What one run came to. Rounds are ticks' lengths of time, from a write until everybody has it;
    None if something never got everywhere, or if nothing was cut."""

    seed: int
    writes: int
    rounds_median: float | None
    rounds_max: float | None
    spread_ms_median: float | None
    spread_ms_max: float | None
    hops_median: float  # of each write, the longest way it took
    hops_max: float
    pushed_share: float
    messages_per_write: float
    messages_per_node_second: float
    bytes_per_write: float
    bytes_per_node_second: float
    stale_mean_s: float  # over all keys, readers and moments of the run
    stale_max_s: float
    cut_stale_mean_s: float | None  # while there is a cut
    cut_stale_max_s: float | None
    level_after_heal_s: float | None  # until what was written before the last heal is everywhere
    undelivered: int  # pairs of a write and a node, at the end
    virtual_s: float
    messages: dict[str, int]  # by class
    sizes: dict[str, int]  # bytes, by class


class Load:
    """Somebody writes, at equal intervals."""

    def __init__(self, crowd: Crowd, setting: Setting, seed: str) -> None:
        self.wanted: dict[str, list[Nanoseconds]] = {}  # when each value of a key was wanted
        self._crowd = crowd
        self._setting = setting
        self._random = Random(f"{seed}/load")
        self._written = [0] * setting.nodes
        count = int(setting.writes * setting.until_s)
        for number in range(count):
            crowd.at(int(number * SECOND / setting.writes), self._write)

    def _write(self) -> None:
        place = self._random.choice(self._crowd.places)
        key = f"{place.number}/{self._written[place.number] % KEYS}"
        self._written[place.number] += 1
        times = self.wanted.setdefault(key, [])
        times.append(self._crowd.now)
        value = len(times).to_bytes(self._setting.size, "big")
        self._crowd.act(place, gossiper_of(place).write, key, value)


def last_cause(setting: Setting) -> Nanoseconds:
    """When the last write and the last cut are over."""
    return max([round(setting.until_s * SECOND), *(cut.ends for cut in setting.cuts)])


def run(setting: Setting, seed: int) -> Row:
    """One run. The same setting and seed give the same row."""
    crowd, arrivals, load = started(setting, seed)
    crowd.run(last_cause(setting))
    patience = max(SETTLE_S * SECOND, 100 * setting.gossip.quiet_tick_ns)
    while crowd.now < last_cause(setting) + patience and not _is_level(crowd, arrivals):
        crowd.run(crowd.now + setting.gossip.tick_ns)
    return _row(setting, seed, crowd, arrivals, load)


def started(setting: Setting, seed: int) -> tuple[Crowd, Arrivals, Load]:
    """A crowd in which all is prepared and nothing has happened yet, and those that watch it."""
    setting.check()
    arrivals = Arrivals()
    mean_ns = setting.delay_ms * MILLISECOND
    crowd = Crowd(
        Random(f"{seed}/crowd"),
        delay_min_ns=int(mean_ns / 5),
        delay_mean_ns=max(1, int(mean_ns * 4 / 5)),  # beyond the least
        see=arrivals.see,
    )
    crowd.scale, crowd.loss = Scale(), setting.loss
    if setting.cuts:
        crowd.carries = carrier(setting.cuts, setting.nodes, lambda: crowd.now)
    known = setting.topology.neighbours(setting.nodes, Random(f"{seed}/topology"))
    neighbouring(crowd, str(seed), setting.gossip, known)
    arrivals.watch(crowd)
    return crowd, arrivals, Load(crowd, setting, str(seed))


def _is_level(crowd: Crowd, arrivals: Arrivals) -> bool:
    return not arrivals.undelivered and not any(
        gossiper_of(place).gossip.pace.waiting for place in crowd.places
    )


def _row(setting: Setting, seed: int, crowd: Crowd, arrivals: Arrivals, load: Load) -> Row:
    assert crowd.scale is not None
    writes = arrivals.writes
    lasted = [(written.arrived - written.at) / MILLISECOND for written in writes]
    middle, longest = median(lasted), max(lasted)
    is_level = not arrivals.undelivered
    hops = [max(written.hops) for written in writes]
    node_seconds = setting.nodes * crowd.now / SECOND
    messages, size = crowd.sent.total(), crowd.scale.sizes.total()
    stale = stale_during([(0, crowd.now)], writes, load.wanted, setting.nodes)
    cuts = joined([(cut.begins, cut.ends) for cut in setting.cuts])
    inside = stale_during(cuts, writes, load.wanted, setting.nodes) if cuts else None
    return Row(
        seed=seed,
        writes=len(writes),
        rounds_median=middle / setting.tick_ms if is_level else None,
        rounds_max=longest / setting.tick_ms if is_level else None,
        spread_ms_median=middle if is_level else None,
        spread_ms_max=longest if is_level else None,
        hops_median=median(hops),
        hops_max=max(hops),
        pushed_share=pushed_share(writes),
        messages_per_write=messages / len(writes),
        messages_per_node_second=messages / node_seconds,
        bytes_per_write=size / len(writes),
        bytes_per_node_second=size / node_seconds,
        stale_mean_s=stale.mean_s,
        stale_max_s=stale.max_s,
        cut_stale_mean_s=inside.mean_s if inside else None,
        cut_stale_max_s=inside.max_s if inside else None,
        level_after_heal_s=_level_after_heal(setting, writes) if is_level else None,
        undelivered=arrivals.undelivered,
        virtual_s=crowd.now / SECOND,
        messages=dict(sorted(crowd.sent.items())),
        sizes=dict(sorted(crowd.scale.sizes.items())),
    )


def _level_after_heal(setting: Setting, writes: Sequence[Written]) -> float | None:
    if not setting.cuts:
        return None
    healed = max(cut.ends for cut in setting.cuts)
    arrived = [written.arrived for written in writes if written.at <= healed]
    return max(0, *arrived, healed) / SECOND - healed / SECOND


def median_of(rows: Sequence[Row]) -> dict[str, float | None]:
    """Of each number, over the runs that have it."""
    found: dict[str, float | None] = {}
    for each in fields(Row):
        if each.name in ("seed", "messages", "sizes"):
            continue
        numbers = [number for row in rows if (number := getattr(row, each.name)) is not None]
        found[each.name] = median(numbers) if numbers else None
    return found
