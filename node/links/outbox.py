"""Frames that wait for a link, and the bundles in which they travel.

    bundle = size of frame (4 bytes, big-endian), frame, size, frame, ...

Invariant: an outbox never holds more than its limits; what does not fit is refused, and frames
leave in the order in which they came. A burst of small frames costs one write.
"""

from __future__ import annotations

import asyncio
from collections import deque
from struct import Struct

from protocol.codec import FRAME_SIZE_MAX
from protocol.errors import RemoteProtocolError

FRAMES_MAX = 16_384
OUTBOX_SIZE_MAX = 32 * 1024 * 1024  # four of the largest frames
BUNDLE_SIZE_MAX = 256 * 1024  # unless a single frame is larger: that one travels alone
_SIZE = Struct(">I")
MESSAGE_SIZE_MAX = max(BUNDLE_SIZE_MAX, FRAME_SIZE_MAX + _SIZE.size) + 1  # on the WebSocket


class Outbox:
    """A bounded queue of frames for one node."""

    __slots__ = ("_frames", "_size", "changed", "overflowing")

    def __init__(self) -> None:
        self._frames: deque[bytes] = deque()
        self._size = 0
        self.changed = asyncio.Event()  # set when there may be something for a writer to do
        self.overflowing = False  # until half of it has been taken, a full outbox is old news

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, frame: bytes) -> bool:
        """Append the frame; False if it does not fit."""
        if len(self._frames) >= FRAMES_MAX or self._size + len(frame) > OUTBOX_SIZE_MAX:
            return False
        self._frames.append(frame)
        self._size += len(frame)
        self.changed.set()
        return True

    def take_bundle(self) -> tuple[bytes, int]:
        """The next frames as one message, and how many they are; empty when none wait."""
        parts: list[bytes] = []
        size = 0
        frames = self._frames
        while frames:
            larger = size + _SIZE.size + len(frames[0])
            if parts and larger > BUNDLE_SIZE_MAX:
                break
            frame = frames.popleft()
            parts += (_SIZE.pack(len(frame)), frame)
            self._size -= len(frame)
            size = larger
        if len(frames) <= FRAMES_MAX // 2 and self._size <= OUTBOX_SIZE_MAX // 2:
            self.overflowing = False
        return b"".join(parts), len(parts) // 2

    def take_all(self) -> list[bytes]:
        """Everything that waits, to be dropped or to go by another way."""
        frames = list(self._frames)
        self._frames.clear()
        self._size = 0
        self.overflowing = False
        return frames


def split_bundle(bundle: bytes) -> list[bytes]:
    """The frames of a bundle; RemoteProtocolError if the sizes do not add up."""
    frames = []
    at = 0
    while at < len(bundle):
        start = at + _SIZE.size
        if start > len(bundle):
            raise RemoteProtocolError("bundle ends within the size of a frame")
        at = start + _SIZE.unpack_from(bundle, at)[0]
        if at > len(bundle):
            raise RemoteProtocolError(f"frame of {at - start} bytes is cut off")
        frames.append(bundle[start:at])
    return frames
