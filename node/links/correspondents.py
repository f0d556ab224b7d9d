"""The nodes with which there is something going on: a link, a dial, or messages that wait.

A seed is known by its endpoint only, until a dial tells which node is there; from then on, and as
long as there is a link with that node, the endpoint stands for it.

Invariant: a correspondent without link, dial and messages is forgotten, so the table does not grow
with the number of nodes ever heard of.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

from node.links.link import Link
from node.links.outbox import Outbox
from protocol.identity import NOBODY, NodeId

CORRESPONDENTS_MAX = (
    8_192  # of those that are sent to; links made by others have a bound of their own
)
ENDPOINTS_MAX = 8  # of one node that are tried in a dial


@dataclass(slots=True)
class Correspondent:
    """One node, or a seed whose id is not known yet (`node` is then empty)."""

    node: NodeId
    endpoints: tuple[str, ...]
    outbox: Outbox = field(default_factory=Outbox)
    link: Link | None = None  # the one that is written to
    dial: asyncio.Task[None] | None = None
    next_dial_s: float = 0.0  # not before this, by the loop's clock

    @property
    def endpoint(self) -> str:
        """The address by which to speak of it; empty if none is known."""
        return self.endpoints[0] if self.endpoints else ""

    @property
    def is_idle(self) -> bool:
        """Whether nothing is lost by forgetting it."""
        return self.link is None and self.dial is None and not self.outbox


class Correspondents:
    """All of them, by node id and by seed endpoint."""

    def __init__(self) -> None:
        self._nodes: dict[NodeId, Correspondent] = {}
        self._seeds: dict[str, Correspondent] = {}  # by their first endpoint
        self._reached: dict[str, NodeId] = {}  # seed endpoint -> node with a link, found there

    def __iter__(self) -> Iterator[Correspondent]:
        yield from self._nodes.values()
        yield from self._seeds.values()

    def find(self, node: NodeId, endpoints: tuple[str, ...]) -> Correspondent | None:
        """The one meant by a send, made if need be; None if there are too many."""
        first = endpoints[0] if endpoints else ""
        node = node or self._reached.get(first, NOBODY)
        found = self._nodes.get(node) if node else self._seeds.get(first)
        if found is None:
            if len(self._nodes) + len(self._seeds) >= CORRESPONDENTS_MAX:
                return None
            found = Correspondent(node, endpoints)
            if node:
                self._nodes[node] = found
            else:
                self._seeds[first] = found
        if endpoints:
            found.endpoints = endpoints[:ENDPOINTS_MAX]
        return found

    def owner_of(self, link: Link) -> Correspondent:
        """The one at the other end of a link, made if need be."""
        endpoints = (link.origin.endpoint,) if link.origin.endpoint else ()
        return self._nodes.setdefault(link.peer, Correspondent(link.peer, endpoints))

    def learn(self, endpoint: str, node: NodeId) -> None:
        """A seed turned out to be `node`, with which there is a link."""
        self._reached[endpoint] = node

    def unlink(self, correspondent: Correspondent) -> None:
        """Its link is not to be written to any more, and its seed endpoints stand for nobody."""
        correspondent.link = None
        for endpoint in [at for at, node in self._reached.items() if node == correspondent.node]:
            del self._reached[endpoint]

    def forget_if_idle(self, correspondent: Correspondent) -> None:
        """Drop it if there is nothing to remember; its pause between dials counts as something."""
        if not correspondent.is_idle:
            return
        loop = asyncio.get_running_loop()
        if loop.time() < correspondent.next_dial_s:
            loop.call_at(correspondent.next_dial_s, self.forget_if_idle, correspondent)
            return
        if self._nodes.get(correspondent.node) is correspondent:
            del self._nodes[correspondent.node]
        for endpoint in [at for at, each in self._seeds.items() if each is correspondent]:
            del self._seeds[endpoint]
