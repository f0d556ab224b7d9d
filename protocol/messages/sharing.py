"""Store and gossip, and what nodes fetch from and ask each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from protocol.identity import NodeId


@dataclass(frozen=True, slots=True)
class Push:
    """Batches of entries that the sender saw for the first time just now."""

    batches: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """Hash-first: a fingerprint of the sender's whole digest. Beside it the log that the sender
    follows (empty for none) and whether that is `settled`; and for nodes beyond the council, how
    far it is committed and who leads which term (empty if the sender does not know)."""

    fingerprint: bytes
    log: bytes
    settled: bool
    committed: int
    term: int
    leader: NodeId


@dataclass(frozen=True, slots=True)
class Digest:
    """Author -> highest sequence held without a gap. `wants_answer` asks for yours in return."""

    vector: Mapping[str, int]
    wants_answer: bool


@dataclass(frozen=True, slots=True)
class DigestSums:
    """Hash-first, of many authors: a sum over what the sender has of each part of them."""

    sums: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class PartDigest:
    """A digest of the authors in some parts; nothing is said of the others."""

    parts: tuple[int, ...]
    vector: Mapping[str, int]
    wants_answer: bool


@dataclass(frozen=True, slots=True)
class Collected:
    """Entries `first` to `last` of an author are not needed by anybody any more; `link` is the
    value of the author's hash chain after them."""

    author: NodeId
    first: int
    last: int
    link: bytes


@dataclass(frozen=True, slots=True)
class Delta:
    """Batches that the receiver's digest lacked, in order for each author, and what was collected
    between them; `more` if the size limit cut them short, so that the receiver asks again at
    once."""

    batches: tuple[bytes, ...]
    collected: tuple[Collected, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class Holding:
    """The sender has had all of an author up to `last`, and of that something still counts in the
    batches that begin at `firsts`."""

    author: NodeId
    last: int
    firsts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class HoldingsAsked:
    """I was away for so long that what I hold may have been deleted without a trace. Tell me of the
    authors that come `after` this one."""

    after: NodeId


@dataclass(frozen=True, slots=True)
class Holdings:
    """All that counts at the sender of some authors, in order; drop what you have beside it. There
    may be `more` authors after the last of them. A sender that is `late` itself may hold what was
    deleted long ago."""

    holdings: tuple[Holding, ...]
    more: bool
    late: bool


@dataclass(frozen=True, slots=True)
class QueryAnswer:
    """The sender's answer to the receiver's query of this number."""

    number: int
    payload: str


@dataclass(frozen=True, slots=True)
class BlobRequest:
    """Please send this part of a blob; 0 stands for its manifest."""

    blob: str
    part: int


@dataclass(frozen=True, slots=True)
class BlobPart:
    """A part of a blob, or its manifest. Who asked sees by the hash whether it is."""

    blob: str
    part: int
    data: bytes


@dataclass(frozen=True, slots=True)
class BlobMissing:
    """The sender has not got it."""

    blob: str
    part: int


@dataclass(frozen=True, slots=True)
class Forked:
    """Two batches that one author signed and that cannot both be of its history: proof that it is
    not to be believed."""

    one: bytes
    other: bytes
