"""Everything that one peer says to another. `codec.py` gives each class its number on the wire.

A message may be lost, delayed, repeated or overtaken; no handler may rely on anything else.
The sender is not a field: the link proves it (mutual TLS), the simulator knows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, get_args

from protocol.messages.agreement import Agreement, OfLog, Relay
from protocol.messages.membership import (
    MemberSync,
    Probe,
    ProbeAck,
    ProbeNack,
    ProbeRequest,
    ViewSummary,
)
from protocol.messages.overlay import OverlayMessage
from protocol.messages.sharing import (
    BlobMissing,
    BlobPart,
    BlobRequest,
    Delta,
    Digest,
    DigestSums,
    Forked,
    Holdings,
    HoldingsAsked,
    PartDigest,
    Push,
    QueryAnswer,
    Summary,
)

if TYPE_CHECKING:
    from typing_extensions import TypeIs  # Python's own from 3.13 on

Message: TypeAlias = (
    Probe
    | ProbeAck
    | ProbeRequest
    | ProbeNack
    | MemberSync
    | ViewSummary
    | Push
    | Summary
    | Digest
    | DigestSums
    | PartDigest
    | Delta
    | HoldingsAsked
    | Holdings
    | Forked
    | QueryAnswer
    | BlobRequest
    | BlobPart
    | BlobMissing
    | OverlayMessage
    | Agreement
    | Relay
)


def is_of_log(message: Message | OfLog) -> TypeIs[OfLog]:
    """Whether it goes in an Agreement. Asked for all that is sent: a set is quicker than
    `isinstance` with a union of fifteen."""
    return type(message) in _OF_LOG


_OF_LOG = frozenset(get_args(OfLog))
