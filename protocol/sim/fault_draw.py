"""Drawing the timed faults of a plan: how many of each kind, when, where, and how bad."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from protocol.clocks import MILLISECOND, SECOND, Nanoseconds
from protocol.sim.disk import Rot
from protocol.sim.drive import InFlight
from protocol.sim.faults import (
    BitRot,
    Crash,
    CrashAfter,
    Cut,
    Die,
    DiskFull,
    DiskHang,
    Flap,
    Garble,
    IsolateLeader,
    Join,
    Leave,
    LoseOne,
    MinimalQuorum,
    Pause,
    Restart,
    Shape,
    Slow,
    Storm,
    TimedFault,
    Transfer,
    WriteError,
)

CALM = 0.08  # of the seeds draw no timed fault at all
PROMISES = ("VoteReply", "VoteReply", "VoteRequest", "AppendReply", "Push", "Delta")
LOSABLE = ("AppendReply", "AppendReply", "Append", "VoteReply", "Push", "Digest", "Learned")


class _Draw:
    """One plan's draws. Each method makes one fault."""

    def __init__(self, random: Random, nodes: int, start: Nanoseconds, end: Nanoseconds) -> None:
        self.random = random
        self.nodes = nodes
        self.start = start
        self.end = end
        self.number = 0

    def at(self) -> Nanoseconds:
        self.number += 1
        return self.random.randrange(self.start, self.end)

    def until(self, at: Nanoseconds, least: Nanoseconds, most: Nanoseconds) -> Nanoseconds:
        return min(at + self.random.randrange(least, most), self.end)

    def node(self) -> int:
        return self.random.randrange(self.nodes)

    def shape(self) -> tuple[Shape, tuple[int, ...], int]:
        order = tuple(self.random.sample(range(self.nodes), self.nodes))
        return self.random.choice(tuple(Shape)), order, self.random.randint(0, self.nodes - 1)

    def crash(self) -> list[TimedFault]:
        random, at = self.random, self.at()
        back = self.until(at, 100 * MILLISECOND, 6 * SECOND)
        effects = random.choice((0, 0, 1, 2, 5, 20))
        in_flight = random.choice(tuple(InFlight))
        power = random.random() < 0.5
        return [Crash(self.number, at, self.node(), back, effects, power, in_flight)]

    def crash_all(self) -> list[TimedFault]:
        """A power cut in the whole house."""
        at = self.at()
        self.number -= 1
        faults: list[TimedFault] = []
        for node in range(self.nodes):
            self.number += 1
            back = self.until(at, 100 * MILLISECOND, 3 * SECOND)
            in_flight = self.random.choice(tuple(InFlight))
            faults.append(Crash(self.number, at, node, back, 0, True, in_flight))
        return faults

    def replace(self) -> list[TimedFault]:
        """A node dies for good, and a new one comes."""
        at = self.at()
        die = Die(self.number, at, self.node())
        self.number += 1
        return [die, Join(self.number, self.until(at, 0, 5 * SECOND))]

    def leave(self) -> list[TimedFault]:
        at = self.at()
        return [Leave(self.number, at, self.node())]

    def transfer(self) -> list[TimedFault]:
        """Every node is asked: whoever leads hands over."""
        at = self.at()
        self.number -= 1
        faults: list[TimedFault] = []
        for node in range(self.nodes):
            self.number += 1
            faults.append(Transfer(self.number, at, node))
        return faults

    def join(self) -> list[TimedFault]:
        at = self.at()
        return [Join(self.number, at)]

    def pause(self) -> list[TimedFault]:
        at = self.at()
        most = self.random.choice((500 * MILLISECOND, 3 * SECOND, 20 * SECOND))
        return [Pause(self.number, at, self.node(), self.until(at, 50 * MILLISECOND, most))]

    def slow(self) -> list[TimedFault]:
        at = self.at()
        step = self.random.choice((MILLISECOND // 5, 2 * MILLISECOND, 20 * MILLISECOND))
        return [Slow(self.number, at, self.node(), self.until(at, SECOND, 8 * SECOND), step)]

    def garble(self) -> list[TimedFault]:
        at = self.at()
        return [Garble(self.number, at, self.node(), self.until(at, SECOND // 5, 8 * SECOND))]

    def disk_hang(self) -> list[TimedFault]:
        at = self.at()
        return [DiskHang(self.number, at, self.node(), self.until(at, SECOND // 5, 8 * SECOND))]

    def disk_full(self) -> list[TimedFault]:
        at = self.at()
        return [DiskFull(self.number, at, self.node(), self.until(at, SECOND // 5, 8 * SECOND))]

    def write_error(self) -> list[TimedFault]:
        at = self.at()
        return [WriteError(self.number, at, self.node())]

    def bit_rot(self) -> list[TimedFault]:
        """Found at the crash that comes with it."""
        at, node, what = self.at(), self.node(), self.random.choice(tuple(Rot))
        rot = BitRot(self.number, at, node, what)
        self.number += 1
        back = self.until(at, 100 * MILLISECOND, 3 * SECOND)
        return [rot, Crash(self.number, at, node, back, 0, False, InFlight.LOST)]

    def cut(self) -> list[TimedFault]:
        at = self.at()
        return [Cut(self.number, at, self.until(at, SECOND, 10 * SECOND), *self.shape())]

    def flap(self) -> list[TimedFault]:
        at = self.at()
        period = self.random.choice((200 * MILLISECOND, SECOND, 3 * SECOND))
        until = self.until(at, 2 * SECOND, 12 * SECOND)
        return [Flap(self.number, at, until, *self.shape(), period)]

    def storm(self) -> list[TimedFault]:
        random, at = self.random, self.at()
        return [
            Storm(
                self.number,
                at,
                self.until(at, SECOND, 6 * SECOND),
                random.choice((0.0, 0.3, 0.7)),
                random.choice((0.0, 0.3)),
                random.choice((0.0, 0.2)),
                random.choice((1, 5, 30)),
            )
        ]

    def minimal_quorum(self) -> list[TimedFault]:
        at = self.at()
        return [MinimalQuorum(self.number, at, self.until(at, SECOND, 8 * SECOND))]

    def lose_one(self) -> list[TimedFault]:
        at = self.at()
        return [LoseOne(self.number, at, self.node(), self.random.choice(LOSABLE))]

    def crash_after(self) -> list[TimedFault]:
        at = self.at()
        message = self.random.choice(PROMISES)
        back = self.random.choice((MILLISECOND, 30 * MILLISECOND, 300 * MILLISECOND))
        return [CrashAfter(self.number, at, self.node(), message, back)]

    def restart(self) -> list[TimedFault]:
        at = self.at()
        back = self.until(at, 100 * MILLISECOND, 3 * SECOND)
        return [Restart(self.number, at, self.node(), back)]

    def isolate_leader(self) -> list[TimedFault]:
        """And perhaps those who elect the next one crash as soon as they have voted."""
        at = self.at()
        faults: list[TimedFault] = [
            IsolateLeader(self.number, at, self.until(at, SECOND // 2, 5 * SECOND))
        ]
        for node in range(self.nodes if self.random.random() < 0.5 else 0):
            self.number += 1
            faults.append(CrashAfter(self.number, at, node, "VoteReply", MILLISECOND))
        return faults


def draw_faults(
    random: Random, nodes: int, start: Nanoseconds, end: Nanoseconds
) -> tuple[TimedFault, ...]:
    """All timed faults of a run, in the order of their numbers."""
    draw = _Draw(random, nodes, start, end)
    kinds: tuple[tuple[Callable[[], list[TimedFault]], tuple[int, ...]], ...] = (
        (draw.crash, (0, 0, 1, 3, 8)),
        (draw.crash_all, (0, 0, 0, 0, 0, 0, 1)),
        (draw.replace, (0, 0, 0, 0, 1, 2)),
        (draw.leave, (0, 0, 0, 0, 1)),
        (draw.join, (0, 0, 0, 1, 2)),
        (draw.pause, (0, 0, 0, 1, 2, 5)),
        (draw.slow, (0, 0, 0, 1, 2)),
        (draw.disk_hang, (0, 0, 0, 1, 2, 4)),
        (draw.disk_full, (0, 0, 0, 0, 1, 2)),
        (draw.write_error, (0, 0, 0, 1, 3)),
        (draw.bit_rot, (0, 0, 0, 0, 1, 2)),
        (draw.cut, (0, 0, 1, 2, 5)),
        (draw.flap, (0, 0, 0, 0, 1, 2)),
        (draw.storm, (0, 0, 0, 1, 2)),
        (draw.minimal_quorum, (0, 0, 0, 1, 3)),
        (draw.lose_one, (0, 0, 1, 3, 10)),
        (draw.crash_after, (0, 0, 0, 1, 3, 8)),
        (draw.isolate_leader, (0, 0, 1, 3, 8)),
        (draw.transfer, (0, 0, 0, 1, 4)),
        (draw.garble, (0, 0, 0, 0, 0, 1, 3)),
        (draw.restart, (0, 0, 0, 1, 4)),
    )
    is_calm = random.random() < CALM
    faults: list[TimedFault] = []
    for make, amounts in kinds:
        amount = random.choice(amounts)
        for _ in range(0 if is_calm else amount):
            faults += make()
    return tuple(faults)
