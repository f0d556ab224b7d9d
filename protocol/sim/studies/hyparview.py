"""Broadcast over partial views while most nodes fail at once, and how soon the views heal.

Leitao, Pereira and Rodrigues, *HyParView* (DSN 2007), section 5: 10,000 nodes; after the failures,
broadcasts from random survivors one after the other, and then cycles until one reaches (nearly) all
of them. The failures are simultaneous, and all that is noticed of them is that connections break
when they are used. Unlike the paper's, our cycles go on between the broadcasts: one in fifty.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from protocol.clocks import MILLISECOND, SECOND, Nanoseconds
from protocol.config import OverlayConfig
from protocol.identity import NodeId, node_id_of
from protocol.messages.overlay import Contact
from protocol.overlay import Overlay
from protocol.sim.crowd import Crowd, Place
from protocol.sim.studies.table import Line, Study
from protocol.turn import Turn

NODES = 10_000
JOIN_EVERY: Nanoseconds = 5 * MILLISECOND
SETTLING_CYCLES = 20
BROADCASTS = 30  # after the failures
BROADCASTS_OF_FEW = 1_000  # as in the paper, where so few are left that it costs little
BROADCAST_EVERY: Nanoseconds = 200 * MILLISECOND
SPREAD_NS: Nanoseconds = 4 * SECOND  # grafts included
HEALING_CYCLES_MAX = 10
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
CONFIG = OverlayConfig()


class Ears:
    """Who has received what: payload -> how many."""

    def __init__(self) -> None:
        self.heard: dict[bytes, int] = {}

    def deliver(self, turn: Turn, payload: bytes) -> None:
        self.heard[payload] = self.heard.get(payload, 0) + 1


@dataclass(slots=True)
class Country:
    """A crowd with an overlay."""

    crowd: Crowd
    ears: Ears
    random: Random
    broadcasts: int = 0

    def up(self) -> list[Place]:
        """Those that have not failed."""
        return [place for place in self.crowd.places if place.is_up]

    def broadcast(self) -> bytes:
        """From somebody at random; what identifies it to the ears."""
        self.broadcasts += 1
        payload = b"broadcast %d" % self.broadcasts
        place = self.random.choice(self.up())
        self.crowd.act(place, overlay_of(place).broadcast, payload)
        return payload

    def reached(self, payloads: Sequence[bytes]) -> float:
        """The mean share of those who are up that have received these."""
        heard = sum(self.ears.heard.get(payload, 0) for payload in payloads)
        return heard / len(payloads) / len(self.up())

    def cycle(self) -> None:
        """One shuffle of everybody."""
        self.crowd.run(self.crowd.now + CONFIG.shuffle_interval_ns)

    def largest_part(self) -> int:
        """Of those that are up, how many are connected over active views, links taken both ways."""
        up = {place.node: place for place in self.up()}
        links: dict[NodeId, set[NodeId]] = {node: set() for node in up}
        for node, place in up.items():
            for other in overlay_of(place).view.active:
                if other in up:
                    links[node].add(other)
                    links[other].add(node)
        unseen, largest = set(up), 0
        while unseen:
            part = [unseen.pop()]
            for node in part:
                near = links[node] & unseen
                unseen -= near
                part += near
            largest = max(largest, len(part))
        return largest


def overlay_of(place: Place) -> Overlay:
    """The machine at a place of a `Country`."""
    assert isinstance(place.machine, Overlay)
    return place.machine


def joined(
    size: int, seed: int, config: OverlayConfig = CONFIG, every: Nanoseconds = JOIN_EVERY
) -> Country:
    """So many nodes, started one after the other, all of which know the first one's address. The
    last one starts now."""
    crowd = Crowd(Random(f"{seed}/crowd"))
    country = Country(crowd, Ears(), Random(f"{seed}/country"))
    for number in range(size):
        crowd.run(number * every)
        node = node_id_of(hashlib.sha256(b"%d/%d" % (seed, number)).digest())
        own = Contact(node, (f"p{number}:1",))
        seeds = ("p0:1",) if number else ()
        random = Random(f"{seed}/{number}")
        machine = Overlay(own, seeds, config, random, crowd.now, country.ears.deliver)
        crowd.add(node, own.endpoints[0], machine)
    return country


def founded(size: int, seed: int, config: OverlayConfig = CONFIG) -> Country:
    """So many nodes that have joined one after the other, all at the first, and shuffled since."""
    country = joined(size, seed, config)
    for _ in range(SETTLING_CYCLES):
        country.cycle()
    return country


def broadcasts_after(share: float) -> int:
    """How many follow such a failure; the paper has 1,000 after each."""
    return BROADCASTS if share < 0.9 else BROADCASTS_OF_FEW


@dataclass(frozen=True, slots=True)
class Aftermath:
    """After so large a share has failed: the mean share of the survivors that broadcasts reached
    at once, and the last of them; and after how many cycles one reached as many as before the
    failures (None: not within HEALING_CYCLES_MAX)."""

    share: float
    reached: float
    reached_last: float
    cycles: int | None


def aftermath(image: bytes, share: float) -> Aftermath:
    """Fail a share of the pickled country."""
    country: Country = pickle.loads(image)
    for place in country.random.sample(
        country.crowd.places, int(share * len(country.crowd.places))
    ):
        country.crowd.fail(place)
    payloads = []
    for _ in range(broadcasts_after(share)):
        payloads.append(country.broadcast())
        country.crowd.run(country.crowd.now + BROADCAST_EVERY)
    country.crowd.run(country.crowd.now + SPREAD_NS)
    reached, last = country.reached(payloads), country.reached(payloads[-1:])
    cycles: int | None = None
    for cycle in range(HEALING_CYCLES_MAX + 1):
        payload = country.broadcast()
        country.crowd.run(country.crowd.now + SPREAD_NS)
        if country.reached([payload]) > 0.999:
            cycles = cycle
            break
        country.crowd.run(country.crowd.now + CONFIG.shuffle_interval_ns - SPREAD_NS)
    return Aftermath(share, reached, last, cycles)


def study(seed: int = 1, nodes: int = NODES, shares: Sequence[float] = SHARES) -> Study:
    """From ten per cent of failures to ninety-five."""
    country = founded(nodes, seed)
    connected = country.largest_part()
    lines = [
        Line(
            f"connected, of {nodes:,} that have joined",
            f"{connected:,}",
            "all",
            connected == nodes,
        )
    ]
    image = pickle.dumps(country)
    del country
    for share in shares:
        found = aftermath(image, share)
        expected = 0.9 if share > 0.9 else 0.99
        lines.append(
            Line(
                f"{share:.0%} fail: survivors reached, mean of {broadcasts_after(share)}; the last",
                f"{found.reached:.2%}; {found.reached_last:.2%}",
                "90 %" if share > 0.9 else "no visible loss",
                found.reached >= expected if share != 0.9 else None,
            )
        )
        lines.append(
            Line(
                f"{share:.0%} fail: healed after, cycles",
                "not" if found.cycles is None else str(found.cycles),
                "1-2" if share < 0.8 else "",
                (found.cycles is not None and found.cycles <= 2) if share < 0.8 else None,
            )
        )
    title = f"HyParView (Leitao, Pereira and Rodrigues 2007), section 5, {nodes:,} nodes"
    return Study("hyparview", title, tuple(lines))
