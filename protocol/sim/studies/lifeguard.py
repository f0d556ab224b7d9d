"""Slow members: false failures of healthy ones, and how long a true one takes to be known.

Dadgar, Phillips and Currey, *Lifeguard: Local Health Awareness for More Accurate Failure Detection*
(DSN-W 2018), section V: 128 members, of which C = 1..32 suffer anomalies. During an anomaly a
member stands still just before it sends and just after it receives; its timers run on.

    threshold   C members have one long anomaly at the same time: when do all healthy ones know?
    interval    C members have anomalies of a length, with so much between them, again and again:
                how often is a healthy member (one of the others) called failed, by whomever?

SWIM is our own machine with Lifeguard's parts and ours switched off, and the suspicion time-out of
memberlist, which the paper measured. The same seeds, members and anomalies are drawn for both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from statistics import median

from protocol.clocks import MILLISECOND, SECOND, Nanoseconds
from protocol.config import MembershipConfig
from protocol.facts import Fact
from protocol.facts.membership import MemberFailed
from protocol.identity import NodeId
from protocol.sim.crowd import Crowd, Place
from protocol.sim.studies.table import Line, Study
from protocol.sim.studies.townships import acquainted

MEMBERS = 128
SLOW = (4, 16)  # of the paper's C
SETTLED_NS = 5 * SECOND
LONG_NS = 32_768 * MILLISECOND
CYCLES_NS = 40 * SECOND
ANOMALIES_NS = (  # duration and pause: two of the paper's 48 pairs
    (8_192 * MILLISECOND, 256 * MILLISECOND),
    (16_384 * MILLISECOND, 4_096 * MILLISECOND),
)

OURS = MembershipConfig()
SWIM = replace(
    OURS,
    health_max=0,
    suspicion_alpha=5.0,  # memberlist's: 5 * log10(N) intervals
    suspicion_beta=1.0,
    confirmations_max=0,
    hearsay_share=0.0,
    distrust=0.0,
    second_opinions=0,
    witnesses=10**9,
    late_ns=10**18,
    probe_timeout_max=1,
    pause_ns=10**18,
)


class Failures:
    """What was called failed. `slow` are the members with anomalies; of their true failures, how
    long it took until the first and until all of so many healthy ones knew."""

    def __init__(self, healthy_count: int) -> None:
        self.slow: frozenset[NodeId] = frozenset()
        self.false = 0  # healthy members called failed, by anybody
        self.false_by_healthy = 0
        self.began: Nanoseconds = 0
        self.first_after: list[Nanoseconds] = []
        self.all_after: list[Nanoseconds] = []
        self._healthy_count = healthy_count
        self._known: dict[NodeId, set[int]] = {}

    def see(self, now: Nanoseconds, place: Place, fact: Fact) -> None:
        """Note a fact of a place."""
        if not isinstance(fact, MemberFailed):
            return
        if fact.node not in self.slow:
            self.false += 1
            self.false_by_healthy += place.node not in self.slow
            return
        if place.node in self.slow:
            return
        known = self._known.setdefault(fact.node, set())
        if not known:
            self.first_after.append(now - self.began)
        if place.number not in known:
            known.add(place.number)
            if len(known) == self._healthy_count:
                self.all_after.append(now - self.began)


def _drawn(slow: int, seed: str, config: MembershipConfig) -> tuple[Crowd, list[Place], Failures]:
    failures = Failures(MEMBERS - slow)
    crowd = acquainted(MEMBERS, seed, config, failures.see)
    crowd.run(SETTLED_NS)
    places = Random(f"{seed}/slow").sample(crowd.places, slow)
    failures.slow = frozenset(place.node for place in places)
    failures.began = crowd.now
    return crowd, places, failures


def threshold(slow: int, seed: str, config: MembershipConfig) -> Failures:
    """One long anomaly of `slow` members at the same time."""
    crowd, places, failures = _drawn(slow, f"{seed}/threshold/{slow}", config)
    for place in places:
        crowd.hold(place, timers_too=False)
    crowd.run(crowd.now + LONG_NS)
    return failures


def interval(
    slow: int,
    duration: Nanoseconds,
    pause: Nanoseconds,
    seed: str,
    config: MembershipConfig,
) -> Failures:
    """Anomalies of `slow` members, again and again, for a while."""
    crowd, places, failures = _drawn(slow, f"{seed}/interval/{slow}/{duration}/{pause}", config)
    end = crowd.now + CYCLES_NS
    while crowd.now < end:
        for place in places:
            crowd.hold(place, timers_too=False)
        crowd.run(crowd.now + duration)
        for place in places:
            crowd.release(place)
        crowd.run(crowd.now + pause)
    return failures


@dataclass(slots=True)
class Total:
    """Sums and medians of one configuration over all experiments."""

    false: int = 0
    false_by_healthy: int = 0
    first_s: float = 0.0
    all_s: float = 0.0


def total(config: MembershipConfig, seed: int, slow: tuple[int, ...] = SLOW) -> Total:
    """Both experiments, over all C."""
    found = Total()
    first: list[Nanoseconds] = []
    everywhere: list[Nanoseconds] = []
    for count in slow:
        failures = threshold(count, str(seed), config)
        first += failures.first_after
        everywhere += failures.all_after
        for duration, pause in ANOMALIES_NS:
            failures = interval(count, duration, pause, str(seed), config)
            found.false += failures.false
            found.false_by_healthy += failures.false_by_healthy
    found.first_s = median(first) / SECOND
    found.all_s = median(everywhere) / SECOND
    return found


def study(seed: int = 1, slow: tuple[int, ...] = SLOW) -> Study:
    """Ours beside SWIM, and beside what Lifeguard made of SWIM."""
    swim, ours = total(SWIM, seed, slow), total(OURS, seed, slow)
    lines = [
        Line("SWIM: false failures of healthy members", str(swim.false)),
        Line("SWIM: those by healthy members", str(swim.false_by_healthy)),
        Line("SWIM: true failure known first, to all, median", _pair(swim), "12.4 s, 12.9 s"),
        Line("ours: true failure known first, to all, median", _pair(ours)),
        _share("false failures, of SWIM's", ours.false, swim.false, 0.015, "1.5 %"),
        _share(
            "those by healthy members, of SWIM's",
            ours.false_by_healthy,
            swim.false_by_healthy,
            0.019,
            "1.9 %",
        ),
        _share("time until all know, of SWIM's", ours.all_s, swim.all_s, 0.57, "57 %"),
    ]
    title = f"Lifeguard (Dadgar, Phillips and Currey 2018), {MEMBERS} members, C = {slow}"
    return Study("lifeguard", title, tuple(lines))


def _pair(found: Total) -> str:
    return f"{found.first_s:.2f} s, {found.all_s:.2f} s"


def _share(what: str, ours: float, swim: float, limit: float, published: str) -> Line:
    if not swim:
        return Line(what, f"{ours:g} of 0", published, None if ours else True)
    return Line(what, f"{ours / swim:.1%}", published, ours / swim <= limit)
