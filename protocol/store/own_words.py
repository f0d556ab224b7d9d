"""What a node says under a key that it alone writes, such as `note/JOB/TASK/NODE/NUMBER`.

Invariant: what lies there by another's hand, says that it is another's, or is illegible, counts for
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from protocol import codec
from protocol.errors import RemoteProtocolError
from protocol.identity import NodeId
from protocol.store.keys import Version


class Word(Protocol):
    """A value that tells whose it is."""

    @property
    def node(self) -> NodeId: ...


W = TypeVar("W", bound=Word)


def word_of(author: NodeId, versions: Sequence[Version], kind: type[W]) -> tuple[W, int] | None:
    """The author's word among the versions of a key of its own, and the number of its entry."""
    for version in versions:
        if version.author != author:
            continue
        try:
            word = codec.unpack_value(kind, version.value)
        except RemoteProtocolError:
            continue
        if word.node == author:
            return word, version.sequence
    return None
