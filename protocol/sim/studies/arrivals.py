"""Which write got where: when, over how many hops, and whether by push alone.

A node has a write when its store has the author's history up to it; what was collected before it
came, since a later value replaced it, counts as there. It came *by push alone* if no exchange of
digests was on its way: neither the node nor any of those that it has it from fetched it.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

from protocol.clocks import Nanoseconds
from protocol.facts import Fact
from protocol.facts.sharing import BatchMerged, HistorySkipped
from protocol.identity import NodeId
from protocol.messages.sharing import Push
from protocol.sim.crowd import Crowd, Place
from protocol.sim.studies.gossipers import gossiper_of


@dataclass(slots=True)
class Written:
    """One write. `hops` has one number for each node: 0 not there, 1 its author, 2 one hop away;
    `pushed` are those that have it by push alone, as bits."""

    at: Nanoseconds
    hops: array[int]
    missing: int
    pushed: int
    arrived: Nanoseconds = field(default=0)  # the last one of all so far

    @property
    def is_everywhere(self) -> bool:
        return self.missing == 0


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
                for _ in range(fact.first, fact.last + 1):
                    history.append(self._begin(now, place.number))
            case BatchMerged() | HistorySkipped():
                for written in self._histories[fact.author][fact.first - 1 : fact.last]:
                    if not written.hops[place.number]:
                        self._arrive(now, place, written)
            case _:
                pass

    def _begin(self, now: Nanoseconds, author: int) -> Written:
        nodes = len(self._numbers)
        written = Written(now, array("H", bytes(2 * nodes)), nodes - 1, 1 << author)
        written.hops[author] = 1
        self.writes.append(written)
        self.undelivered += nodes - 1
        return written

    def _arrive(self, now: Nanoseconds, place: Place, written: Written) -> None:
        source = gossiper_of(place).source
        assert source is not None, "what others wrote comes in messages"
        sender, message = source
        number = self._numbers[sender]
        assert written.hops[number], "whoever sends it has it"
        written.hops[place.number] = written.hops[number] + 1
        if isinstance(message, Push) and written.pushed >> number & 1:
            written.pushed |= 1 << place.number
        written.missing -= 1
        written.arrived = now
        self.undelivered -= 1


def pushed_share(writes: Sequence[Written]) -> float:
    """The share of pairs of a write and another node that push alone served; 0 of none."""
    pairs = sum(len(written.hops) - 1 for written in writes)
    return sum(written.pushed.bit_count() - 1 for written in writes) / pairs if pairs else 0.0
