"""What the two ends of a link may do beyond their protocol version, a bit each.

A version says what every node of a team must understand; a feature, what one can do without. Each
node tells its bits at the start of a link (`node.links.handshake`), and in its member record; used
is what both ends have. A bit that a node does not know is of a later one, and is left alone, so a
team is brought to a new feature node by node, and back.
"""

from __future__ import annotations

import re
from enum import IntFlag

_BITS = re.compile(r"[0-9a-f]{1,16}")


class Feature(IntFlag):
    """One bit each; a bit is never used again for something else."""

    COMPRESSION = 1  # bundles may come as `node.links.compression` makes them


def offered(preset: str) -> Feature:
    """What a node does if the other end does too. To compress a MB of text takes 15 ms and saves
    .6 MB: a gain over a wide network, but none where a MB is there within 25 ms (300 Mbit/s)."""
    return Feature.COMPRESSION if preset == "wan" else Feature(0)


def written(features: Feature) -> str:
    """The bits as they stand in a header and in a record: hexadecimal."""
    return f"{features:x}"


def read(text: str) -> Feature:
    """The bits of a text that are known here. A node that tells none has none."""
    return Feature(int(text, 16) & _KNOWN) if _BITS.fullmatch(text) else Feature(0)


def names(features: Feature) -> list[str]:
    """For people, in the order of the bits."""
    return [each.name.lower() for each in Feature if each in features and each.name]


_KNOWN = sum(Feature)
