"""Cuts of a study: which links carry nothing, from when to when, in seconds of virtual time.

    split:FROM:TO      the first half and the second half of the nodes do not hear each other
    one_way:FROM:TO    the second half does not hear the first
    bridge:FROM:TO     two halves that share one node, the middle one: it hears and reaches all
    isolated:FROM:TO   the last node neither hears nor reaches anybody

What is sent over such a link is lost without a word. Halves are by number, so that in a ring, a
grid or two halves they are also near each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite

from protocol.clocks import SECOND, Nanoseconds
from protocol.errors import InvalidStudy

SHAPES = ("split", "isolated", "one_way", "bridge")
FORM = "SHAPE:FROM:TO, like split:4:8, in seconds"
ENDS_BY_S = 3_600.0
CUTS_MAX = 16


@dataclass(frozen=True, slots=True)
class Cut:
    """See the module's text."""

    shape: str
    begins_s: float
    ends_s: float

    def __str__(self) -> str:
        return f"{self.shape}:{self.begins_s:g}:{self.ends_s:g}"

    @property
    def begins(self) -> Nanoseconds:
        return round(self.begins_s * SECOND)

    @property
    def ends(self) -> Nanoseconds:
        return round(self.ends_s * SECOND)

    def check(self, nodes: int) -> None:
        """Refuse what so many nodes cannot be cut into."""
        if self.shape == "bridge" and nodes < 3:
            raise InvalidStudy(f"cut {self}: a bridge takes at least 3 nodes")

    def carries(self, nodes: int, sender: int, receiver: int) -> bool:
        """Whether a message gets through while it lasts."""
        half = nodes // 2
        match self.shape:
            case "split":
                return (sender < half) == (receiver < half)
            case "one_way":
                return sender >= half or receiver < half
            case "bridge":
                return half in (sender, receiver) or (sender < half) == (receiver < half)
            case _:
                return nodes - 1 not in (sender, receiver)


def cut_of(text: str) -> Cut:
    """Read one, like split:4:8."""
    shape, *times = text.split(":")
    if shape not in SHAPES:
        raise InvalidStudy(f"cut {text!r}: shapes are {', '.join(SHAPES)}; write {FORM}")
    try:
        begins, ends = (float(word) for word in times)
    except ValueError:
        raise InvalidStudy(f"cut {text!r}: write {FORM}") from None
    if not (isfinite(begins) and isfinite(ends) and 0 <= begins < ends <= ENDS_BY_S):
        raise InvalidStudy(
            f"cut {text!r}: it begins at 0 s or later and ends after that, by {ENDS_BY_S:g} s"
        )
    return Cut(shape, begins, ends)


def carrier(
    cuts: Sequence[Cut], nodes: int, now: Callable[[], Nanoseconds]
) -> Callable[[int, int], bool]:
    """Whether a message gets through all of the cuts that there are at the moment."""

    def carries(sender: int, receiver: int) -> bool:
        moment = now()
        return all(
            cut.carries(nodes, sender, receiver) for cut in cuts if cut.begins <= moment < cut.ends
        )

    return carries
