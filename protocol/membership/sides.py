"""One crash, or a cut through the team? Members that fail in silence, several at about the same
time, are across a cut; whoever refused a connection has crashed. The two sides are counted once
nobody more has fallen silent for a while, so that it is one fact and not one for each member.

    TeamSplit(here, there)    so many nodes on this side, this one included, and on the other
    Isolated(lost)            this side is this node alone: it is the one that is cut off
    TeamWhole(size)           those of the other side are back, or known to have ended
"""

from __future__ import annotations

from protocol.clocks import Nanoseconds
from protocol.facts import Fact
from protocol.facts.membership import Isolated, TeamSplit, TeamWhole
from protocol.identity import NodeId

LOST_MIN = 2  # members that are silent at a time, before it is called a cut


class Sides:
    """See the module's text."""

    def __init__(self, calm_ns: Nanoseconds) -> None:
        """`calm_ns` without another loss ends the counting."""
        self._calm_ns = calm_ns
        self._lost: dict[NodeId, Nanoseconds] = {}
        self._told: Fact | None = None

    def lost(self, node: NodeId, now: Nanoseconds) -> Nanoseconds:
        """A member failed in silence; when to `judge`."""
        self._lost[node] = now
        return now + self._calm_ns

    def found(self, node: NodeId) -> None:
        """It is back, or it is known what became of it."""
        self._lost.pop(node, None)

    def across(self) -> list[NodeId]:
        """Those on the other side, while it is called a cut; nobody otherwise."""
        return list(self._lost) if self._told is not None else []

    def judge(self, now: Nanoseconds, alive: int) -> Fact | None:
        """What there is to tell, of a team of which `alive` others are there; None if it is nothing
        new."""
        fact: Fact | None = None
        if self._lost and now - max(self._lost.values()) < self._calm_ns:
            return None
        if not self._lost:
            was, self._told = self._told, None
            return None if was is None else TeamWhole(alive + 1)
        if len(self._lost) >= LOST_MIN:
            split = TeamSplit(alive + 1, len(self._lost))
            fact = split if alive else Isolated(len(self._lost))
        if fact is None or fact == self._told:
            return None
        self._told = fact
        return fact
