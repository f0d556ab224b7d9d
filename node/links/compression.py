"""Bundles that travel compressed, between nodes that both have `Feature.COMPRESSION`.

    compressed bundle = FF FF FF FF, which is no frame's size | the bundle, as a zlib stream

Invariant: what comes out is never larger than a message may be, whatever came in.
"""

from __future__ import annotations

import zlib

from node.links.outbox import MESSAGE_SIZE_MAX
from protocol.errors import RemoteProtocolError

COMPRESSED_SIZE_MIN = 4 * 1024  # a smaller bundle fills few packets as it is
_MARK = b"\xff\xff\xff\xff"
_LEVEL = 1  # level 6 saves a seventh more in three times the time
_SAMPLE_SIZE = 4 * 1024  # what does not shrink here (keys, images) is not tried further
_SHRINKS = 0.75


def compressed(bundle: bytes) -> bytes:
    """The bundle as it shall travel: as it is if it is small, or would hardly be smaller."""
    if len(bundle) < COMPRESSED_SIZE_MIN:
        return bundle
    middle = (len(bundle) - _SAMPLE_SIZE) // 2  # a frame's head says little of the rest
    sample = bundle[middle : middle + _SAMPLE_SIZE]
    if len(zlib.compress(sample, _LEVEL)) > _SHRINKS * len(sample):
        return bundle
    return min(_MARK + zlib.compress(bundle, _LEVEL), bundle, key=len)


def expanded(message: bytes) -> bytes:
    """The bundle that came as `message`; RemoteProtocolError if it is no whole stream, or larger
    than any bundle."""
    if not message.startswith(_MARK):
        return message
    stream = zlib.decompressobj()
    try:
        bundle = stream.decompress(message[len(_MARK) :], MESSAGE_SIZE_MAX)
    except zlib.error as fault:
        raise RemoteProtocolError(f"compressed bundle: {fault}") from None
    if not stream.eof or stream.unused_data:
        raise RemoteProtocolError("a compressed bundle is cut off, too large, or followed by more")
    return bundle
