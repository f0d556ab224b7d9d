"""What comes of asking a store to take or to give something."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.errors import RemoteProtocolError
from protocol.identity import NodeId
from protocol.messages.sharing import Collected


@dataclass(frozen=True, slots=True)
class Merged:
    """What a batch brought: entries `first`..`last` of `author`, and the keys they wrote."""

    author: NodeId
    first: int
    last: int
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Lacking:
    """What another store lacks, within a size: batches in order for each author, and what was
    collected between them; whether there is `more`."""

    batches: tuple[bytes, ...]
    collected: tuple[Collected, ...]
    more: bool


class Gap(Exception):
    """Entries of an author between what is held and what arrived are missing."""

    def __init__(self, author: NodeId) -> None:
        super().__init__(author)
        self.author = author


class QuotaReached(Exception):
    """This node has as many entries as others hold of one author."""


class Equivocation(RemoteProtocolError):
    """An author signed two histories. The store has the proof."""

    def __init__(self, author: NodeId) -> None:
        super().__init__("its author has signed two different histories")
        self.author = author
