"""How soon a crash is noticed first, and what that costs, whatever the size of the team.

Das, Gupta and Motivala, *SWIM* (DSN 2002), section 3.3: each member probes one a period, so that
somebody probes the dead one in a given period with probability 1 - 1/e, and the expected time to
the first detection is e / (e - 1) = 1.58 periods, flat in N, where the period of the detection is
counted in full. Load: one probe and one answer a member and period.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil, e
from random import Random
from statistics import mean

from protocol.clocks import SECOND, Nanoseconds
from protocol.config import MembershipConfig
from protocol.facts import Fact
from protocol.facts.membership import MemberSuspected
from protocol.sim.crowd import Place
from protocol.sim.studies.table import Line, Study
from protocol.sim.studies.townships import acquainted

SIZES = (8, 16, 32, 64, 128, 256)
CRASHES = 64  # of each size, each of a random member, of a team that is whole again
PERIOD_NS: Nanoseconds = SECOND
SETTLED_NS = 15 * SECOND
EXPECTED = e / (e - 1)
TOLERANCE = 0.25  # of the mean of so many crashes: three standard errors
STEADY_NS = 30 * SECOND

# Detection as the paper means it: the moment of the probe that gets no answer. Ours adds the
# time-outs of that probe and of those by others, which are taken off below.
CONFIG = replace(MembershipConfig(), probe_interval_ns=PERIOD_NS, sync_interval_ns=3_600 * SECOND)
TIMEOUTS_NS = 3 * CONFIG.probe_timeout_ns


class FirstSuspicion:
    """When anybody first suspected somebody."""

    def __init__(self) -> None:
        self.at: Nanoseconds | None = None

    def see(self, now: Nanoseconds, place: Place, fact: Fact) -> None:
        if isinstance(fact, MemberSuspected) and self.at is None:
            self.at = now


def detection(size: int, seed: int, crashes: int) -> float:
    """In which period after the crash somebody probes the dead one, 1 for the first; the mean.
    Machines fall silent; no connection is refused."""
    periods: list[int] = []
    first = FirstSuspicion()
    crowd = acquainted(size, f"{seed}/{size}", CONFIG, first.see)
    crowd.run(SETTLED_NS)
    random = Random(f"{seed}/swim/{size}")
    for _ in range(crashes):
        crowd.run(crowd.now + 2 * PERIOD_NS + random.randrange(PERIOD_NS))
        place = random.choice(crowd.places)
        first.at = None
        crowd.hold(place)
        began = crowd.now
        while first.at is None:
            crowd.run(crowd.now + PERIOD_NS // 4)
        periods.append(ceil((first.at - began - TIMEOUTS_NS) / PERIOD_NS))
        crowd.release(place)  # and it refutes
        crowd.run(crowd.now + 2 * PERIOD_NS)
    return float(mean(periods))


def load(size: int, seed: int) -> float:
    """Messages that a member sends a period, in a team that is well."""
    crowd = acquainted(size, f"{seed}/load/{size}", CONFIG)
    crowd.run(SETTLED_NS)
    crowd.sent.clear()
    crowd.run(SETTLED_NS + STEADY_NS)
    return sum(crowd.sent.values()) / size / (STEADY_NS / PERIOD_NS)


def study(seed: int = 1, sizes: tuple[int, ...] = SIZES, crashes: int = CRASHES) -> Study:
    """The whole table."""
    lines = []
    for size in sizes:
        periods = detection(size, seed, crashes)
        lines.append(
            Line(
                f"first detection, {size} members, periods",
                f"{periods:.2f}",
                f"{EXPECTED:.2f}",
                periods <= EXPECTED + TOLERANCE,
            )
        )
    for size in sizes:
        messages = load(size, seed)
        lines.append(
            Line(
                f"messages a member and period, {size} members",
                f"{messages:.2f}",
                "2.00",
                messages <= 2.02,
            )
        )
    return Study("swim", "SWIM (Das, Gupta and Motivala 2002), section 3.3", tuple(lines))
