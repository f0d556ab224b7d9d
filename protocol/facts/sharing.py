"""The store, and what is told to everybody."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.facts import Fact
from protocol.identity import NodeId


@dataclass(frozen=True, slots=True)
class BatchMerged(Fact):
    """Entries of `author` up to `last` were new here; `keys` are those they wrote."""

    mark = "+"
    author: NodeId
    first: int
    last: int
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BatchRefused(Fact):
    mark = "!"
    author: NodeId
    sender: NodeId
    reason: str


@dataclass(frozen=True, slots=True)
class AuthorForked(Fact):
    """An author has signed two histories: a node runs twice under one key, or lies. Nothing more of
    it is taken."""

    mark = "!"
    author: NodeId


@dataclass(frozen=True, slots=True)
class BatchCollected(Fact):
    """A batch that begins there was dropped: every member has it, and nothing of it counts."""

    mark = "+"
    author: NodeId
    first: int


@dataclass(frozen=True, slots=True)
class HistorySkipped(Fact):
    """Entries of an author that had been collected before they came here."""

    mark = "+"
    author: NodeId
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class ReturnedLate(Fact):
    """This node was away for so long that it had to ask what still counts; so many of its batches
    did not, or not any more."""

    mark = "+"
    dropped: int


@dataclass(frozen=True, slots=True)
class EventReceived(Fact):
    """`origin` told everybody something, so long ago by the two nodes' clocks."""

    mark = "<"
    name: str
    origin: NodeId
    number: int
    payload: str
    age_ms: int


@dataclass(frozen=True, slots=True)
class BlobComplete(Fact):
    """All parts of a blob are here."""

    mark = "+"
    blob: str
    size: int


@dataclass(frozen=True, slots=True)
class SiblingsFound(Fact):
    """A key has values written without knowledge of each other; all are kept."""

    mark = "+"
    key: str
    authors: tuple[NodeId, ...]
