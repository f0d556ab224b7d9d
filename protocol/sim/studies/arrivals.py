"""Which write got where: when, over how many hops, and whether by push alone.

A node has a write when its store has the author's history up to it; what was collected before it
came, since a later value replaced it, counts as there. It came *by push alone* if no exchange of
digests was on its way: neither the node nor any of those that it has it from fetched it.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from protocol.clocks import Nanoseconds
from protocol.facts import Fact
from protocol.facts.sharing import BatchMerged, HistorySkipped
from protocol.identity import NodeId
from protocol.messages.sharing import Push
from protocol.sim.crowd import Crowd, Place
from protocol.sim.studies.gossipers import gossiper_of

NOT_THERE = -1


@dataclass(slots=True)
class Written:
    """One write. For each node, `times` has when it came there, or NOT_THERE, and `hops` over how
    many hops; `pushed` are those that have it by push alone, as bits."""

    key: str
    at: Nanoseconds
    times: array[int]
    hops: array[int]
    missing: int
    pushed: int

    @property
    def arrived(self) -> Nanoseconds:
        """When the last one got it of all that have it."""
        return max(self.times)


class Arrivals:
    """Sees the facts of a crowd of gossipers."""

    def __init__(self) -> None:
        self.writes: list[Written] = []  # in order of time
        self.undelivered = 0  # pairs of a write and a node
        self._histories: dict[NodeId, list[Written]] = {}
        self._numbers: dict[NodeId, int] = {}

    def watch(self, crowd: Crowd) -> None:
        """Of all places that it has by now."""
        self._numbers = {place.node: place.number for place in crowd.places}

    def see(self, now: Nanoseconds, place: Place, fact: Fact) -> None:
        """To be called with every fact."""
        match fact:
            case BatchMerged() if fact.author == place.node:
                history = self._histories.setdefault(fact.author, [])
                assert fact.first == len(history) + 1, "own writes come in order"
                assert fact.last - fact.first + 1 == len(fact.keys), "a key is there once"
                history += [self._begin(now, place.number, key) for key in fact.keys]
            case BatchMerged() | HistorySkipped():
                for written in self._histories[fact.author][fact.first - 1 : fact.last]:
                    if written.times[place.number] == NOT_THERE:
                        self._arrive(now, place, written)
            case _:
                pass

    def _begin(self, now: Nanoseconds, author: int, key: str) -> Written:
        nodes = len(self._numbers)
        times, hops = array("q", [NOT_THERE]) * nodes, array("H", [0]) * nodes
        times[author] = now
        written = Written(key, now, times, hops, nodes - 1, 1 << author)
        self.writes.append(written)
        self.undelivered += nodes - 1
        return written

    def _arrive(self, now: Nanoseconds, place: Place, written: Written) -> None:
        source = gossiper_of(place).source
        assert source is not None, "what others wrote comes in messages"
        sender, message = source
        number = self._numbers[sender]
        assert written.times[number] != NOT_THERE, "whoever sends it has it"
        written.hops[place.number] = written.hops[number] + 1
        if isinstance(message, Push) and written.pushed >> number & 1:
            written.pushed |= 1 << place.number
        written.times[place.number] = now
        written.missing -= 1
        self.undelivered -= 1


def pushed_share(writes: Sequence[Written]) -> float:
    """The share of pairs of a write and another node that push alone served; 0 of none."""
    pairs = sum(len(written.hops) - 1 for written in writes)
    return sum(written.pushed.bit_count() - 1 for written in writes) / pairs if pairs else 0.0
