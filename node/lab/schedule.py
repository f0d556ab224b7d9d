"""Faults on a local team, as data: what, to whom, when, for how long.

kill-leader@30%        kill -9 the leader when 30 % of the tasks are accepted
kill-followers:2@50%   kill -9 two nodes that do not lead
kill-all@40%           kill -9 everybody
stop:20s@30%           SIGSTOP a node that works on a task, SIGCONT 20 s later
cut:2:10s@40%          cut two nodes that do not lead off from the rest for 10 s
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from protocol.errors import QuorateError

_SPEC = re.compile(
    r"(?P<kind>kill-leader|kill-followers|kill-all|stop|cut)"
    r"(?::(?P<count>\d+))?(?::(?P<seconds>\d+(?:\.\d+)?)s)?@(?P<percent>\d{1,3})%"
)
SECONDS_MAX = 600.0


class FaultSpecError(QuorateError):
    """A fault that cannot be understood; one line with the remedy."""


class FaultKind(Enum):
    KILL_LEADER = "kill-leader"
    KILL_FOLLOWERS = "kill-followers"
    KILL_ALL = "kill-all"
    STOP = "stop"
    CUT = "cut"


COUNTED = frozenset({FaultKind.KILL_FOLLOWERS, FaultKind.STOP, FaultKind.CUT})  # of how many nodes
LASTING = frozenset({FaultKind.STOP, FaultKind.CUT})  # for how long


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. `at` is the share of accepted tasks, 0 to 1, at which it strikes."""

    kind: FaultKind
    at: float
    count: int = 1
    seconds: float = 10.0

    def __str__(self) -> str:
        """As a command line names it."""
        count = f":{self.count}" if self.kind in COUNTED else ""
        seconds = f":{self.seconds:g}s" if self.kind in LASTING else ""
        return f"{self.kind.value}{count}{seconds}@{self.at:.0%}"

    def check(self, nodes: int) -> None:
        """FaultSpecError if a team of so many has not as many to hit."""
        if self.kind not in COUNTED or self.count < nodes:
            return
        raise FaultSpecError(
            f"'{self}' is to hit {self.count} of those that do not lead, and in a team of {nodes} "
            f"there are {nodes - 1}"
        )

    @classmethod
    def parse(cls, text: str) -> Fault:
        """The fault that a command line names."""
        match = _SPEC.fullmatch(text)
        if match is None:
            raise FaultSpecError(
                f"{text!r} is no fault: write kill-leader@30%, kill-followers:2@50%, "
                "kill-all@40%, stop:20s@30% or cut:2:10s@40%"
            )
        kind = FaultKind(match["kind"])
        for group, kinds, what in (("count", COUNTED, "number"), ("seconds", LASTING, "time")):
            if match[group] and kind not in kinds:
                raise FaultSpecError(f"{text!r}: {kind.value} takes no {what}: leave it out")
        percent = int(match["percent"])
        count = int(match["count"] or 1)
        seconds = float(match["seconds"] or 10.0)
        if percent > 100 or count < 1 or not 0.0 < seconds <= SECONDS_MAX:
            raise FaultSpecError(
                f"{text!r} is out of range: at most 100 %, at least 1 node, "
                f"above 0 and at most {SECONDS_MAX:.0f} s"
            )
        return cls(kind, percent / 100.0, count, seconds)


def percentage(text: str) -> float:
    """'30%' or '30' as 0.3."""
    match = re.fullmatch(r"(\d{1,3})%?", text)
    if match is None or int(match[1]) > 100:
        raise FaultSpecError(f"{text!r} is no percentage: write for instance 30%")
    return int(match[1]) / 100.0
