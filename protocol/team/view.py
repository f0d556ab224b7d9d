"""What a node needs to know of the others to choose its work."""

from __future__ import annotations

from dataclasses import dataclass, replace

from protocol.identity import NodeId


@dataclass(frozen=True, slots=True)
class View:
    """Who is alive (this node included), who has failed or left, and who leads (empty if
    unknown). So many voters may fail before the log stands still (below 0: it does)."""

    alive: frozenset[NodeId]
    gone: frozenset[NodeId]
    leader: NodeId
    spares: int = 1

    def without(self, node: NodeId) -> View:
        """The same as if this one had gone."""
        return replace(self, alive=self.alive - {node})
