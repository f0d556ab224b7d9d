"""What every member is known to have: a matrix clock, of the digests that they sent.

What all of them have need not be kept for any of them (Wuu and Bernstein 1984, *Efficient Solutions
to the Replicated Log and Dictionary Problems*). A member that is silent holds this up until it
comes back or is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from protocol.identity import NodeId


class Matrix:
    """Member -> the digest that it sent last."""

    def __init__(self) -> None:
        self._rows: dict[NodeId, Mapping[str, int]] = {}

    def learn(self, node: NodeId, vector: Mapping[str, int]) -> None:
        """A member has so much; a digest that was overtaken on its way does no harm."""
        self._rows[node] = vector

    def learn_part(self, node: NodeId, vector: Mapping[str, int]) -> None:
        """A member has so much of these authors; of the others it has what it had."""
        row = self._rows.get(node, {})
        self._rows[node] = {**row, **vector}

    def keep_only(self, members: Iterable[NodeId]) -> None:
        """Forget the rows of all others."""
        wanted = set(members)
        for node in [node for node in self._rows if node not in wanted]:
            del self._rows[node]

    def who_has(self, author: NodeId, sequence: int) -> list[NodeId]:
        """Who is known to have an entry; others may have it by now."""
        return sorted(node for node, row in self._rows.items() if row.get(author, 0) >= sequence)

    def stable(self, own: Mapping[str, int], members: Iterable[NodeId]) -> dict[str, int]:
        """Author -> the sequence up to which this node and all the members have everything."""
        least = dict(own)
        for node in members:
            row = self._rows.get(node)
            if row is None:
                return {}
            for author, last in least.items():
                least[author] = min(last, row.get(author, 0))
        return {author: last for author, last in least.items() if last}
