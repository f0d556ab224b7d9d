"""The wire format: msgpack arrays, one number per message class, strict on the way in.

    frame = CRC-32 of the rest, 4 bytes, big-endian | [VERSION, number of the class, [field, ...]]

Invariants: `decode` returns an instance whose fields have exactly the declared types and sizes, or
raises `RemoteProtocolError`; nothing else comes out, whatever the bytes. What `decode` would reject
does not pack either: ValueError, before anybody else has to bear it. Codecs for a class are built
once, from its annotations.
"""

from __future__ import annotations

import types
import typing
import zlib
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, TypeVar

import msgpack

from protocol import messages
from protocol.errors import RemoteProtocolError

VERSION = 3
CHECKSUM_SIZE = 4
FRAME_SIZE_MAX = 8 * 1024 * 1024
INTEGER_MAX = 2**63 - 1
STRING_SIZE_MAX = 256 * 1024

MESSAGES: dict[int, type[Any]] = {
    1: messages.Probe,
    2: messages.ProbeAck,
    3: messages.ProbeRequest,
    4: messages.ProbeNack,
    5: messages.MemberSync,
    10: messages.Push,
    11: messages.Summary,
    12: messages.Digest,
    13: messages.Delta,
    20: messages.Agreement,
}
_NUMBERS = {kind: number for number, kind in MESSAGES.items()}

T = TypeVar("T")
Pack = Callable[[Any], Any]
Unpack = Callable[[Any], Any]


def encode(message: messages.Message) -> bytes:
    """The frame for `message`; ValueError if it is none that `decode` would take."""
    kind = type(message)
    pack, _ = _codec_of(kind)
    packed = _pack([VERSION, _NUMBERS[kind], pack(message)])
    frame = zlib.crc32(packed).to_bytes(CHECKSUM_SIZE, "big") + packed
    if len(frame) > FRAME_SIZE_MAX:
        raise ValueError(f"{kind.__name__} of {len(frame)} bytes, the limit is {FRAME_SIZE_MAX}")
    return frame


def decode(frame: bytes) -> messages.Message:
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
    kind = MESSAGES.get(number) if type(number) is int else None
    if kind is None:
        raise RemoteProtocolError(f"no message has the number {number!r}")
    _, unpack = _codec_of(kind)
    return typing.cast(messages.Message, unpack(body))


def pack_value(value: Any) -> bytes:
    """Any dataclass built of the supported types, as bytes, e.g. a value in the store. ValueError
    if a field is out of its bounds."""
    pack, _ = _codec_of(type(value))
    return _pack(pack(value))


def unpack_value(kind: type[T], data: bytes) -> T:
    """The inverse of `pack_value`; RemoteProtocolError if the bytes are not a `kind`."""
    _, unpack = _codec_of(kind)
    return typing.cast(T, unpack(_unpack(data)))


def _pack(value: Any) -> bytes:
    return typing.cast(bytes, msgpack.packb(value, use_bin_type=True))


def _unpack(data: bytes) -> Any:
    try:
        return msgpack.unpackb(data, raw=False, strict_map_key=True)
    except (ValueError, TypeError, OverflowError, RecursionError) as fault:  # msgpack's own derive
        raise RemoteProtocolError(f"not msgpack: {fault}") from None
    except msgpack.exceptions.UnpackException as fault:
        raise RemoteProtocolError(f"not msgpack: {fault}") from None


# -- codecs built from annotations --------------------------------------------------------------


_CODECS: dict[Any, tuple[Pack, Unpack]] = {}


def _codec_of(hint: Any) -> tuple[Pack, Unpack]:
    """How to turn a value of the annotated type into msgpack's types and back."""
    found = _CODECS.get(hint)
    if found is None:
        found = _CODECS[hint] = _build_codec(hint)
    return found


def _build_codec(hint: Any) -> tuple[Pack, Unpack]:
    origin = typing.get_origin(hint)
    if is_dataclass(hint) and isinstance(hint, type):
        return _record_codec(hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _enum_codec(hint)
    if hint in _PLAIN:
        return _PLAIN[hint]
    if isinstance(hint, typing.NewType):
        return _codec_of(hint.__supertype__)
    if origin is tuple:
        return _tuple_codec(typing.get_args(hint))
    if origin is Mapping:
        return _mapping_codec(*typing.get_args(hint))
    if origin in (typing.Union, types.UnionType):
        return _union_codec(typing.get_args(hint))
    raise TypeError(f"the codec has no form for {hint!r}")


def _record_codec(kind: type[Any]) -> tuple[Pack, Unpack]:
    hints = typing.get_type_hints(kind)
    names = tuple(field.name for field in fields(kind))
    codecs = [_codec_of(hints[name]) for name in names]
    packs = tuple((name, pack) for name, (pack, _) in zip(names, codecs, strict=True))
    unpacks = tuple(unpack for _, unpack in codecs)
    size = len(names)

    def pack_record(value: Any) -> Any:
        return [pack(getattr(value, name)) for name, pack in packs]

    def unpack_record(value: Any) -> Any:
        if type(value) is not list or len(value) != size:
            raise RemoteProtocolError(f"{kind.__name__} is not an array of {size} fields")
        return kind(*[unpack(item) for unpack, item in zip(unpacks, value, strict=True)])

    return pack_record, unpack_record


def _enum_codec(kind: type[Enum]) -> tuple[Pack, Unpack]:
    members = {member.value: member for member in kind}

    def unpack_enum(value: Any) -> Any:
        if type(value) not in (int, str) or value not in members:
            raise RemoteProtocolError(f"{value!r} is not a {kind.__name__}")
        return members[value]

    return lambda member: member.value, unpack_enum


def _tuple_codec(arguments: tuple[Any, ...]) -> tuple[Pack, Unpack]:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        pack, unpack = _codec_of(arguments[0])

        def unpack_many(value: Any) -> Any:
            if type(value) is not list:
                raise RemoteProtocolError("expected an array")
            return tuple([unpack(item) for item in value])

        return lambda items: [pack(item) for item in items], unpack_many
    codecs = [_codec_of(argument) for argument in arguments]

    def pack_fixed(items: Any) -> Any:
        return [pack(item) for (pack, _), item in zip(codecs, items, strict=True)]

    def unpack_fixed(value: Any) -> Any:
        if type(value) is not list or len(value) != len(codecs):
            raise RemoteProtocolError(f"expected an array of {len(codecs)}")
        return tuple(unpack(item) for (_, unpack), item in zip(codecs, value, strict=True))

    return pack_fixed, unpack_fixed


def _mapping_codec(key_hint: Any, value_hint: Any) -> tuple[Pack, Unpack]:
    pack_key, unpack_key = _codec_of(key_hint)
    pack_item, unpack_item = _codec_of(value_hint)

    def pack_mapping(items: Any) -> Any:
        return {pack_key(key): pack_item(item) for key, item in items.items()}

    def unpack_mapping(value: Any) -> Any:
        if type(value) is not dict:
            raise RemoteProtocolError("expected a map")
        return {unpack_key(key): unpack_item(item) for key, item in value.items()}

    return pack_mapping, unpack_mapping


def _union_codec(arguments: tuple[Any, ...]) -> tuple[Pack, Unpack]:
    """A union of dataclasses, told apart by their place in the union: [place, value]."""
    codecs = [_codec_of(argument) for argument in arguments]
    places = {argument: place for place, argument in enumerate(arguments)}

    def pack_union(value: Any) -> Any:
        place = places[type(value)]
        return [place, codecs[place][0](value)]

    def unpack_union(value: Any) -> Any:
        if type(value) is not list or len(value) != 2 or type(value[0]) is not int:
            raise RemoteProtocolError("expected an array of place and value")
        if not 0 <= value[0] < len(codecs):
            raise RemoteProtocolError(f"no alternative {value[0]}")
        return codecs[value[0]][1](value[1])

    return pack_union, unpack_union


def _integer(value: Any) -> Any:
    if type(value) is not int or not 0 <= value <= INTEGER_MAX:
        raise RemoteProtocolError(f"{value!r} is not a non-negative 63-bit integer")
    return value


def _string(value: Any) -> Any:
    if type(value) is not str or len(value) > STRING_SIZE_MAX:
        raise RemoteProtocolError("expected a string within the size limit")
    return value


def _bytes(value: Any) -> Any:
    if type(value) is not bytes:
        raise RemoteProtocolError("expected bytes")
    return value


def _boolean(value: Any) -> Any:
    if type(value) is not bool:
        raise RemoteProtocolError(f"{value!r} is not a boolean")
    return value


def _float(value: Any) -> Any:
    if type(value) is not float:
        raise RemoteProtocolError(f"{value!r} is not a float")
    return value


def _strictly(check: Unpack) -> Pack:
    """A packer that lets through what the other side will."""

    def pack(value: Any) -> Any:
        try:
            return check(value)
        except RemoteProtocolError as fault:
            raise ValueError(str(fault)) from None

    return pack


_PLAIN: dict[Any, tuple[Pack, Unpack]] = {
    int: (_strictly(_integer), _integer),
    str: (_strictly(_string), _string),
    bytes: (bytes, _bytes),
    bool: (_strictly(_boolean), _boolean),
    float: (float, _float),
}
