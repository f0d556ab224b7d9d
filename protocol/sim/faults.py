"""Faults as data: each one a small immutable thing with a number, a time, and a readable line.

A plan holds a tuple of them, drawn from the seed; `injection` carries them out. The number is the
fault's place in what was drawn and stays with it when others are left out, so that a command line
can name it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum
from typing import TypeAlias, get_args

from protocol.clocks import MILLISECOND, SECOND, Nanoseconds
from protocol.sim.disk import Rot
from protocol.sim.drive import InFlight
from protocol.sim.network import Link


@dataclass(frozen=True, slots=True)
class Fault:
    """Base of all faults: `#3 at 4.20 s crash node=2 until=6.00 s`."""

    number: int
    at_ns: Nanoseconds

    def __str__(self) -> str:
        details = [
            f"{field.name.removesuffix('_ns')}={_legible(field.name, getattr(self, field.name))}"
            for field in fields(self)
            if field.name not in ("number", "at_ns")
        ]
        at = f"#{self.number} at {self.at_ns / SECOND:.2f} s {kind_of(self)}"
        return " ".join([at, *details])


def kind_of(fault: Fault) -> str:
    """The name of a fault's kind: `disk_hang` for a DiskHang."""
    name = type(fault).__name__
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


def _legible(name: str, value: object) -> str:
    if name.endswith("_ns") and isinstance(value, int):
        seconds = value / SECOND
        return f"{seconds:.2f}s" if value >= SECOND else f"{value / MILLISECOND:g}ms"
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


# -- nodes ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Crash(Fault):
    """The process stops, or with `power` its whole machine, which refuses nothing. With `effects`
    it stops in the midst of a step: before so many more effects are performed."""

    node: int
    until_ns: Nanoseconds
    effects: int
    power: bool
    in_flight: InFlight


@dataclass(frozen=True, slots=True)
class Restart(Fault):
    """The operator stops the process in good order, and starts it again later."""

    node: int
    until_ns: Nanoseconds


@dataclass(frozen=True, slots=True)
class Die(Fault):
    """The node is gone for good, with its disk; spared if the rest could not go on without it."""

    node: int


@dataclass(frozen=True, slots=True)
class Leave(Fault):
    """The operator sends the node home in good order; spared like one that would die."""

    node: int


@dataclass(frozen=True, slots=True)
class Join(Fault):
    """One more node, new to everybody."""


@dataclass(frozen=True, slots=True)
class Pause(Fault):
    """SIGSTOP and, after a while, SIGCONT."""

    node: int
    until_ns: Nanoseconds


@dataclass(frozen=True, slots=True)
class Slow(Fault):
    """Every step of the node takes a while."""

    node: int
    until_ns: Nanoseconds
    step_ns: Nanoseconds


@dataclass(frozen=True, slots=True)
class Garble(Fault):
    """Until then the node changes whatever of others it passes on."""

    node: int
    until_ns: Nanoseconds


# -- disks ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DiskHang(Fault):
    """No write is done until then."""

    node: int
    until_ns: Nanoseconds


@dataclass(frozen=True, slots=True)
class DiskFull(Fault):
    """Every write fails until then: the node stops, and stops again at each new start."""

    node: int
    until_ns: Nanoseconds


@dataclass(frozen=True, slots=True)
class WriteError(Fault):
    """The next write fails, and with it the node; its supervisor starts it again."""

    node: int


@dataclass(frozen=True, slots=True)
class Transfer(Fault):
    """An operator asks a node to hand leadership over, if it has it."""

    node: int


@dataclass(frozen=True, slots=True)
class BitRot(Fault):
    """Something on the disk becomes illegible; the node finds that at its next start."""

    node: int
    what: Rot


# -- links ---------------------------------------------------------------------------------------


class Shape(Enum):
    """How a cut goes through the team, along `order`, a permutation of the nodes."""

    SPLIT = "split"  # the first `size` and the rest do not hear each other
    ONE_WAY = "one_way"  # the rest does not hear the first `size`
    BRIDGE = "bridge"  # two halves that share one node
    RING = "ring"  # each hears its two neighbours
    ISOLATED = "isolated"  # the first is alone


@dataclass(frozen=True, slots=True)
class Cut(Fault):
    """Some links are silent until then."""

    until_ns: Nanoseconds
    shape: Shape
    order: tuple[int, ...]
    size: int


@dataclass(frozen=True, slots=True)
class Flap(Fault):
    """A cut that comes and goes, half a period each."""

    until_ns: Nanoseconds
    shape: Shape
    order: tuple[int, ...]
    size: int
    period_ns: Nanoseconds


@dataclass(frozen=True, slots=True)
class Storm(Fault):
    """All links are bad until then."""

    until_ns: Nanoseconds
    loss: float
    duplication: float
    corruption: float
    slower: int


# -- rare things made common -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MinimalQuorum(Fault):
    """Until then whoever leads now reaches a minimal quorum and nobody else."""

    until_ns: Nanoseconds


@dataclass(frozen=True, slots=True)
class LoseOne(Fault):
    """Exactly one message is lost: the next one of this class that the node sends."""

    node: int
    message: str


@dataclass(frozen=True, slots=True)
class CrashAfter(Fault):
    """The node crashes just after it has sent a message of this class, and is soon back: what it
    has promised it must still know."""

    node: int
    message: str
    back_ns: Nanoseconds


@dataclass(frozen=True, slots=True)
class IsolateLeader(Fault):
    """Until then whoever leads now is alone."""

    until_ns: Nanoseconds


TimedFault: TypeAlias = (
    Crash
    | CrashAfter
    | IsolateLeader
    | Restart
    | Die
    | Leave
    | Transfer
    | Join
    | Pause
    | Slow
    | Garble
    | DiskHang
    | DiskFull
    | WriteError
    | BitRot
    | Cut
    | Flap
    | Storm
    | MinimalQuorum
    | LoseOne
)

KINDS: tuple[type[Fault], ...] = get_args(TimedFault)


def links_of(shape: Shape, order: tuple[int, ...], size: int) -> frozenset[Link]:
    """The links that a cut of this shape blocks."""
    first, rest = order[:size], order[size:]
    match shape:
        case Shape.SPLIT:
            return _between(first, rest) | _between(rest, first)
        case Shape.ONE_WAY:
            return _between(first, rest)
        case Shape.BRIDGE:
            first, rest = order[1 : 1 + len(order) // 2], order[1 + len(order) // 2 :]
            return _between(first, rest) | _between(rest, first)
        case Shape.ISOLATED:
            return _between(order[:1], order[1:]) | _between(order[1:], order[:1])
        case Shape.RING:
            n = len(order)
            return frozenset(
                (order[i], order[j])
                for i in range(n)
                for j in range(n)
                if i != j and (i - j) % n not in (1, n - 1)
            )


def _between(one: tuple[int, ...], other: tuple[int, ...]) -> frozenset[Link]:
    return frozenset((a, b) for a in one for b in other)
