"""The wire format: msgpack arrays, one number per message class, strict on the way in.

    frame = CRC-32 of the rest, 4 bytes, big-endian | [VERSION, number of the class, [field, ...]]

Invariants: `decode` returns an instance whose fields have exactly the declared types and sizes, or
raises `RemoteProtocolError`; nothing else comes out, whatever the bytes. What `decode` would reject
does not pack either: ValueError, before anybody else has to bear it. Codecs for a class are built
once, from its annotations.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, TypeVar

import msgpack

from protocol.errors import RemoteProtocolError
from protocol.forms import INTEGER_MAX, STRING_SIZE_MAX, form_of
from protocol.messages import Message
from protocol.messages.agreement import Agreement, Relay
from protocol.messages.membership import (
    MemberSync,
    Probe,
    ProbeAck,
    ProbeNack,
    ProbeRequest,
    ViewSummary,
)
from protocol.messages.overlay import (
    Disconnect,
    JoinRequest,
    JoinWalk,
    LinkTest,
    NeighbourReply,
    NeighbourRequest,
    Shuffle,
    ShuffleReply,
    TreeGraft,
    TreeHave,
    TreePrune,
    TreePush,
)
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

VERSION = 9
OLDEST_VERSION = 9  # that this node can still speak: see `node.links.handshake`
CHECKSUM_SIZE = 4
FRAME_SIZE_MAX = 8 * 1024 * 1024
ENTRY_SIZE_MAX = FRAME_SIZE_MAX - 1024 * 1024  # bytes in a log entry: an Append must fit a frame

MESSAGES: dict[int, type[Any]] = {
    1: Probe,
    2: ProbeAck,
    3: ProbeRequest,
    4: ProbeNack,
    5: MemberSync,
    6: ViewSummary,
    10: Push,
    11: Summary,
    12: Digest,
    13: Delta,
    14: HoldingsAsked,
    15: Holdings,
    16: Forked,
    17: QueryAnswer,
    18: DigestSums,
    19: PartDigest,
    20: Agreement,
    21: Relay,
    30: JoinRequest,
    31: JoinWalk,
    32: NeighbourRequest,
    33: NeighbourReply,
    34: Disconnect,
    35: Shuffle,
    36: ShuffleReply,
    37: LinkTest,
    40: TreePush,
    41: TreeHave,
    42: TreeGraft,
    43: TreePrune,
    50: BlobRequest,
    51: BlobPart,
    52: BlobMissing,
}

__all__ = [
    "CHECKSUM_SIZE",
    "ENTRY_SIZE_MAX",
    "FRAME_SIZE_MAX",
    "INTEGER_MAX",
    "MESSAGES",
    "OLDEST_VERSION",
    "STRING_SIZE_MAX",
    "VERSION",
    "decode",
    "encode",
    "pack_value",
    "unpack_value",
]

T = TypeVar("T")

# One packer, for making one costs more than its work. In C it does not let go of the interpreter
# while it packs, and is therefore safe for all threads; whoever has msgpack without its C part gets
# the function that makes a packer for each call.
_packer = msgpack.Packer(use_bin_type=True)
_IN_C = type(_packer).__module__ != "msgpack.fallback"

_PACKS: dict[type[Any], tuple[int, Callable[[Any], Any]]] = {
    kind: (number, form_of(kind).pack) for number, kind in MESSAGES.items()
}
_UNPACKS: dict[int, Callable[[Any], Any]] = {
    number: form_of(kind).unpack for number, kind in MESSAGES.items()
}


def encode(message: Message) -> bytes:
    """The frame for `message`; ValueError if it is none that `decode` would take."""
    number, pack = _PACKS[type(message)]
    packed = _pack([VERSION, number, pack(message)])
    frame = zlib.crc32(packed).to_bytes(CHECKSUM_SIZE, "big") + packed
    if len(frame) > FRAME_SIZE_MAX:
        raise ValueError(
            f"{type(message).__name__} of {len(frame)} bytes, the limit is {FRAME_SIZE_MAX}"
        )
    return frame


def decode(frame: bytes) -> Message:
    """The message in `frame`; RemoteProtocolError if it is not one of this version."""
    if len(frame) > FRAME_SIZE_MAX:
        raise RemoteProtocolError(f"frame of {len(frame)} bytes, the limit is {FRAME_SIZE_MAX}")
    packed = frame[CHECKSUM_SIZE:]
    if zlib.crc32(packed).to_bytes(CHECKSUM_SIZE, "big") != frame[:CHECKSUM_SIZE]:
        raise RemoteProtocolError("the checksum of the frame does not match: it was damaged")
    outer = _unpack(packed)
    if type(outer) is not list or len(outer) != 3:
        raise RemoteProtocolError("frame is not an array of version, number and fields")
    version, number, body = outer
    if version != VERSION:
        raise RemoteProtocolError(f"protocol version {version!r}, this node speaks {VERSION}")
    unpack = _UNPACKS.get(number) if type(number) is int else None
    if unpack is None:
        raise RemoteProtocolError(f"no message has the number {number!r}")
    message: Message = unpack(body)
    return message


def pack_value(value: Any) -> bytes:
    """Any dataclass built of the supported types, as bytes, e.g. a value in the store. ValueError
    if a field is out of its bounds."""
    return _pack(form_of(type(value)).pack(value))


def unpack_value(kind: type[T], data: bytes) -> T:
    """The inverse of `pack_value`; RemoteProtocolError if the bytes are not a `kind`."""
    value: T = form_of(kind).unpack(_unpack(data))
    return value


def _pack(value: Any) -> bytes:
    if _IN_C:
        packed: bytes = _packer.pack(value)
    else:
        packed = msgpack.packb(value, use_bin_type=True)
    return packed


def _unpack(data: bytes) -> Any:
    try:
        return msgpack.unpackb(data, raw=False, strict_map_key=True)
    except (ValueError, TypeError, OverflowError, RecursionError) as fault:  # msgpack's own derive
        raise RemoteProtocolError(f"not msgpack: {fault}") from None
    except msgpack.exceptions.UnpackException as fault:
        raise RemoteProtocolError(f"not msgpack: {fault}") from None
