"""Partial cuts of a team, by name: the shapes that have taken real systems down, and how available
a team is during one.

    chain3       the leader and one of two others are cut; the third sees both (Cloudflare, 2020)
    howard5      three see each other, the fourth only one of them, the fifth only the leader
                 (Howard and Abraham, Raft does not guarantee liveness, 2021)
    star5        only one that does not lead sees everybody
    ring5        each sees its two neighbours
    mute_in      the leader is heard and hears nobody
    isolated     one follower is cut off, and comes back half-way
    flapping     the leader's link with one follower breaks and heals every second
    constrained  the leader is gone, and the one with the newest log sees only the hub: an election
                 that has few ways to go (Ng, Omni-Paxos, 2023)

Availability is counted in slots of half a second: a slot is served if a write confirmed in it had
been asked for less than a second before. `any` is the share of slots served through any node,
`mean` the mean over the nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations

from protocol.clocks import MILLISECOND, SECOND, Nanoseconds

Links = frozenset[tuple[int, int]]  # (from, to) pairs that carry messages

DURATION_NS: Nanoseconds = 40 * SECOND
SLOT_NS: Nanoseconds = 500 * MILLISECOND
PATIENCE_NS: Nanoseconds = SECOND  # of a client
FLAP_NS: Nanoseconds = SECOND
SIZES = {
    "chain3": 3,
    "howard5": 5,
    "star5": 5,
    "ring5": 5,
    "mute_in": 5,
    "isolated": 5,
    "flapping": 5,
    "constrained": 5,
}


def all_links(size: int) -> Links:
    """Nothing is cut."""
    return frozenset(permutations(range(size), 2))


def both_ways(pairs: Iterable[tuple[int, int]]) -> Links:
    """Links that carry in both directions."""
    return frozenset(link for a, b in pairs for link in ((a, b), (b, a)))


def healed_at(name: str, duration: Nanoseconds) -> Nanoseconds:
    """When all links of the shape `name` work again, after it began."""
    return duration // 2 if name == "isolated" else duration


def links_of(
    name: str, size: int, leader: int, at: Nanoseconds = 0, duration: Nanoseconds = DURATION_NS
) -> Links:
    """The links that work in the shape `name`, `at` after it began, when `leader` led then.
    `duration` is that of the whole cut."""
    others = [node for node in range(size) if node != leader]
    whole = all_links(size)
    match name:
        case "chain3":
            return whole - both_ways([(leader, others[0])])
        case "howard5":
            a, b, c, d = others
            return both_ways([(leader, a), (leader, b), (a, b), (c, a), (d, leader)])
        case "star5":
            hub = others[0]
            return both_ways((hub, node) for node in range(size) if node != hub)
        case "ring5":
            return both_ways((node, (node + 1) % size) for node in range(size))
        case "mute_in":
            return frozenset(link for link in whole if link[1] != leader)
        case "isolated":
            if at >= healed_at(name, duration):
                return whole
            return whole - both_ways((others[0], node) for node in range(size) if node != others[0])
        case "flapping":
            broken = at // FLAP_NS % 2 == 0
            return whole - both_ways([(leader, others[0])]) if broken else whole
        case "constrained":
            hub, newest = others[0], others[1]
            alone = both_ways((leader, node) for node in others)
            spoke = both_ways((newest, node) for node in others if node not in (hub, newest))
            return whole - alone - spoke
        case _:
            raise ValueError(f"there is no cut {name!r}: there are {', '.join(SIZES)}")


@dataclass(frozen=True, slots=True)
class Availability:
    """Shares of slots served, and what the terms and leaders did meanwhile."""

    any_node: float
    by_node: tuple[float, ...]
    term_growth: int
    leaders_at_once: int

    @property
    def mean(self) -> float:
        return sum(self.by_node) / len(self.by_node)


def since(
    began: Nanoseconds, confirmed: Iterable[tuple[Nanoseconds, Nanoseconds]]
) -> list[tuple[Nanoseconds, Nanoseconds]]:
    """Those of (asked, confirmed) that were confirmed since a cut began, counted from then on."""
    return [(asked - began, at - began) for asked, at in confirmed if at >= began]


def served(
    writes: Sequence[Sequence[tuple[Nanoseconds, Nanoseconds]]], duration: Nanoseconds
) -> tuple[float, tuple[float, ...]]:
    """`writes` holds for each node (asked, confirmed) of its confirmed writes, from the cut on: the
    share of slots served through any node, and through each."""

    def share(pairs: Iterable[tuple[Nanoseconds, Nanoseconds]]) -> float:
        slots = {
            confirmed // SLOT_NS
            for asked, confirmed in pairs
            if confirmed - asked < PATIENCE_NS and confirmed < duration
        }
        return len(slots) / (duration // SLOT_NS)

    return share(pair for node in writes for pair in node), tuple(share(node) for node in writes)
