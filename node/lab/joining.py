"""Ten thousand nodes that join one team: how soon they are one, and what that takes of a machine.

Nobody can know everybody in so large a team, so each has the few neighbours and contacts of its
partial view (`protocol.overlay`), and all that a newcomer knows is the first one's address. They
are one team when neighbours connect all of them, and a broadcast from any has reached every one.
The goals are the project's. Memory is the peak of the whole process, whatever else it has done.
"""

from __future__ import annotations

import resource
import sys
import time

from protocol.clocks import MILLISECOND, SECOND, Nanoseconds
from protocol.sim.studies.hyparview import JOIN_EVERY, SPREAD_NS, Country, joined
from protocol.sim.studies.table import Line, Study

NODES = 10_000
AT_ONCE_NS: Nanoseconds = SECOND  # in which all of them start, as after a power cut
LOOK_EVERY: Nanoseconds = 10 * MILLISECOND
BROADCASTS_MAX = 30
WALL_MAX_S = 600
MEMORY_MAX_GIB = 8
GIB = 1024**3


def seconds_to_converge(country: Country) -> float | None:
    """Virtual seconds, from now on, until all are connected and have heard one broadcast, each of
    which is by somebody at random; None if so many do not show it."""
    crowd, begun = country.crowd, country.crowd.now
    for _ in range(BROADCASTS_MAX):
        payload = country.broadcast()
        until = crowd.now + SPREAD_NS
        while crowd.now < until and country.reached([payload]) < 1:
            crowd.run(crowd.now + LOOK_EVERY)
        if country.reached([payload]) == 1 and country.largest_part() == len(country.up()):
            return (crowd.now - begun) / SECOND
    return None


def peak_memory() -> int:
    """Bytes that this process has had in memory at most so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def lines_of(how: str, nodes: int, seed: int, every: Nanoseconds) -> list[Line]:
    """From the first node's start until all are one team."""
    begun = time.monotonic()
    country = joined(nodes, seed, every=every)
    took = seconds_to_converge(country)
    wall = time.monotonic() - begun
    connected = country.largest_part()
    return [
        Line(f"{how}: connected", f"{connected:,}", f"{nodes:,}", connected == nodes),
        Line(
            f"{how}: a broadcast has reached all, virtual seconds after the last start",
            "never" if took is None else f"{took:.2f}",
            holds=took is not None,
        ),
        Line(f"{how}: seconds by the clock", f"{wall:.1f}", f"{WALL_MAX_S}", wall <= WALL_MAX_S),
    ]


def study(seed: int = 1, nodes: int = NODES) -> Study:
    """One after the other, and all at once."""
    lines = lines_of(f"one every {JOIN_EVERY / MILLISECOND:g} ms", nodes, seed, JOIN_EVERY)
    lines += lines_of("all within a second", nodes, seed, AT_ONCE_NS // nodes)
    memory = peak_memory() / GIB
    fits = memory <= MEMORY_MAX_GIB
    lines.append(Line("memory at its peak, GiB", f"{memory:.2f}", f"{MEMORY_MAX_GIB}", fits))
    title = f"{nodes:,} nodes join one team by one address, in one simulation"
    return Study("joining", title, tuple(lines))
