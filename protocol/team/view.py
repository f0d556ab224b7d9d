"""What a node needs to know of the others to choose its work."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.identity import NodeId


@dataclass(frozen=True, slots=True)
class View:
    """Who is alive (this node included), who has failed or left, and who leads (empty if
    unknown)."""

    alive: frozenset[NodeId]
    gone: frozenset[NodeId]
    leader: NodeId
