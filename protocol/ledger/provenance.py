"""Where in the log something was decided, and who put it there.

A new leader's first entry (`EntryKind.NOOP`; thesis, 6.4) names it, so whoever applies the log
knows who led each of its terms, however long ago: no node has to be asked, and nobody's memory of
an election is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol.identity import NOBODY, NodeId

NODE_ID_LENGTH_MAX = 64  # characters; an id has 16


@dataclass(frozen=True, slots=True)
class Place:
    """A log entry. `leader` led `term` and put it there; NOBODY if the log does not say. Index 0 is
    nowhere: nothing was decided yet."""

    index: int = 0
    term: int = 0
    leader: NodeId = NOBODY


NOWHERE = Place()


def encode_leader(node: NodeId) -> bytes:
    """What the first entry of a node as leader says."""
    return node.encode()


def decode_leader(data: bytes) -> NodeId:
    """The inverse; NOBODY if the bytes name no node, for what peers send is not to be trusted."""
    try:
        name = data.decode("ascii")
    except UnicodeDecodeError:
        return NOBODY
    return NodeId(name) if len(name) <= NODE_ID_LENGTH_MAX else NOBODY
