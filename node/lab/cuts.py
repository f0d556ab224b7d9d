"""How available a team of real processes is during a partial cut: `protocol.sim.partial_cuts` says
what is cut and what counts, so the figures stand beside the simulator's.

    measure("howard5")  ──▶  CutOutcome: any 1.00, mean 1.00, term growth 0, ...

A client at each node's door writes every 100 ms and reads what the client of the next node wrote;
the whole history must be linearizable. Meanwhile every node is asked for its role and term. The
links carry what the shape lets them, by the link faults of the nodes themselves, and work again at
the end. An operation counts as failed if it was refused, or not answered, later than a second after
the links that it needs worked again.

Invariant: every process started here is stopped before `measure` returns or raises.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from node.lab.cluster import Cluster, ClusterError, ModelOptions
from node.lab.door import Door, DoorError
from protocol.clocks import SECOND, Nanoseconds
from protocol.sim.linearizable import Kind, Operation, Outcome, Report, Verdict, check
from protocol.sim.partial_cuts import (
    DURATION_NS,
    SIZES,
    Availability,
    Links,
    all_links,
    healed_at,
    links_of,
    served,
    since,
)

ASK_EVERY_S = 0.1  # of a client
LOOK_EVERY_S = 0.2  # at roles and terms
LINKS_EVERY_S = 0.02  # whether others should work now
LOOK_TIMEOUT_S = 1.0
SETTLE_TIMEOUT_S = 30.0
WARM_UP_S = 3.0  # with load, before the cut
RETURN_NS: Nanoseconds = SECOND  # after a heal; what fails later counts
AFTER_S = 3.0  # how long the team is watched after the heal

Status = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Goal:
    """What a shape's figures must be. `hearers` leaves the node that led before out of the mean: it
    can be answered by nobody. Shares are met if they are so when rounded to two digits."""

    any_node: float
    mean: float
    growth_max: int | None = None
    hearers: bool = False

    def __str__(self) -> str:
        growth = "" if self.growth_max is None else f", +{self.growth_max}"
        return f"{self.any_node:g} / {self.mean:g}{' of hearers' * self.hearers}{growth}"


GOALS = {
    "chain3": Goal(1, 1, 0),
    "howard5": Goal(1, 1, 0),
    "star5": Goal(0.98, 0.98),
    "ring5": Goal(1, 1, 0),
    "mute_in": Goal(0.97, 1, 1, hearers=True),
    "isolated": Goal(1, 0.9, 0),  # one of five is out of reach for half of the time
    "flapping": Goal(1, 1, 0),
    "constrained": Goal(0.98, 0.98, hearers=True),
}
LEADERS_SHARE_MAX = 0.02  # of samples with two that think they lead: one deposed a moment ago


@dataclass(frozen=True, slots=True)
class CutOutcome:
    """One shape's figures. `leader` is the number of the node that led when the cut began."""

    name: str
    leader: int
    availability: Availability
    leaders_share: float  # of the samples: more than one node said that it leads
    outage_s: float  # the longest time without a confirmed write, through any node
    cut_frames: int  # messages that the links did not carry
    relayed: int  # messages that a node has passed on for two others
    failed: tuple[str, ...]  # after the heal
    history: Report  # whether all that was written and read is linearizable

    @property
    def goal(self) -> Goal:
        return GOALS[self.name]

    @property
    def mean(self) -> float:
        """Over the nodes that the goal is about."""
        if not self.goal.hearers:
            return self.availability.mean
        shares = [
            share for number, share in enumerate(self.availability.by_node) if number != self.leader
        ]
        return sum(shares) / len(shares)

    @property
    def is_held(self) -> bool:
        goal, found = self.goal, self.availability
        return (
            round(found.any_node, 2) >= goal.any_node
            and round(self.mean, 2) >= goal.mean
            and (goal.growth_max is None or found.term_growth <= goal.growth_max)
            and self.leaders_share <= LEADERS_SHARE_MAX
            and not self.failed
            and self.history.verdict is not Verdict.FALSE
            and self.cut_frames > 0  # else nothing was measured
        )

    def __str__(self) -> str:
        found = self.availability
        growth = f"+{found.term_growth}"
        leaders = f"{found.leaders_at_once} ({self.leaders_share:.0%})"
        verdict, held = self.history.verdict.value, "yes" if self.is_held else "NO"
        return (
            f"| {self.name:<11} | {found.any_node:.3f} | {self.mean:.3f} | {growth:<11} "
            f"| {leaders:<15} | {len(self.failed):>10} | {verdict:<12} | {self.outage_s:>8.2f} "
            f"| {self.relayed:>7} | {self.goal!s:<26} | {held:<4} |"
        )


HEADER = (
    "| scenario    | any   | mean  | term growth | leaders at once | failed ops | linearizable "
    "| outage s | relayed | goal (any / mean, growth)  | held |"
)


async def measure(
    name: str, duration: Nanoseconds = DURATION_NS, folder: Path | None = None
) -> CutOutcome:
    """Start a team, cut it, heal it. Its files stay in `folder` if one is given."""
    with tempfile.TemporaryDirectory(prefix="quorate-cut-") as temporary:
        cluster = Cluster.create(folder or Path(temporary), SIZES[name], allow_faults=True)
        try:
            await asyncio.to_thread(cluster.start, ModelOptions(), attached=True)
            async with AsyncExitStack() as stack:
                doors = [
                    await stack.enter_async_context(Door(node.door, cluster.token, connections=0))
                    for node in cluster.nodes
                ]
                return await CutTrial(name, doors, duration).run()
        finally:
            await asyncio.to_thread(cluster.stop)


class CutTrial:
    """One team during one cut. All times are this process's monotonic clock."""

    def __init__(self, name: str, doors: Sequence[Door], duration: Nanoseconds) -> None:
        self.name = name
        self.duration = duration
        self.doors = doors
        self.clients = [Client(number, door) for number, door in enumerate(doors)]
        self.leader = -1
        self.began: Nanoseconds = 0
        self._nodes: list[str] = []  # their ids
        self._samples: list[list[Status]] = []

    async def run(self) -> CutOutcome:
        """See the module's text."""
        await self._settle()
        async with asyncio.TaskGroup() as group:
            steady = [
                group.create_task(_every(ASK_EVERY_S, self._ask)),
                group.create_task(_every(LOOK_EVERY_S, self._look)),
            ]
            await asyncio.sleep(WARM_UP_S)
            term = self._begin()
            await self._cut()
            await self._look()
            during, self._samples = self._samples, []
            await asyncio.sleep(AFTER_S)
            for task in steady:
                task.cancel()
        failed = self._failures()
        for client in self.clients:
            await client.stop()
        return self._outcome(term, during, failed)

    async def _settle(self) -> None:
        """Until all vote and follow one leader."""
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        while time.monotonic() < deadline:
            await self._look()
            statuses = self._samples.pop()
            if len(statuses) == len(self.doors) and all(
                len(one["voters"]) == len(self.doors)
                and not one["changing_from"]
                and one["leader"] == statuses[0]["leader"] != ""
                for one in statuses
            ):
                self._nodes = [one["node"] for one in statuses]
                return
            await asyncio.sleep(LOOK_EVERY_S)
        raise ClusterError(f"the team does not agree on its voters after {SETTLE_TIMEOUT_S:.0f} s")

    def _begin(self) -> int:
        """Note who leads, from the last look: the term."""
        last = self._samples[-1]
        leading = [one["node"] for one in last if one["role"] == "leader"]
        if len(leading) != 1:
            raise ClusterError(f"{len(leading)} nodes lead before the cut: the machine is too slow")
        self.leader = self._nodes.index(leading[0])
        self._samples.clear()
        return _highest_term([last])

    async def _cut(self) -> None:
        """Let the links be as the shape says, and whole at the end."""
        size = len(self.doors)
        self.began = now = time.monotonic_ns()
        in_force = all_links(size)
        while now < self.began + self.duration:
            links = links_of(self.name, size, self.leader, now - self.began, self.duration)
            if links != in_force:
                await self._impose(links)
                in_force = links
            await asyncio.sleep(LINKS_EVERY_S)
            now = time.monotonic_ns()
        await self._impose(all_links(size))

    async def _impose(self, links: Links) -> None:
        """A link that does not carry is cut at both ends."""
        cut = sorted(all_links(len(self.doors)) - links)

        async def at(number: int, door: Door) -> None:
            to = [self._nodes[b] for a, b in cut if a == number]
            back = [self._nodes[a] for a, b in cut if b == number]
            await door.post("/v1/faults", {"drop_to": to, "drop_from": back})

        await asyncio.gather(*(at(number, door) for number, door in enumerate(self.doors)))

    async def _ask(self) -> None:
        neighbours = [*self.clients[1:], self.clients[0]]
        for client, neighbour in zip(self.clients, neighbours, strict=True):
            client.write()
            client.read(neighbour.key)

    async def _look(self) -> None:
        """One sample: what the nodes say that answer in time."""

        async def one(door: Door) -> Status | None:
            try:
                async with asyncio.timeout(LOOK_TIMEOUT_S):
                    status: Status = await door.get("/v1/status")
                    return status
            except (DoorError, TimeoutError):
                return None

        found = await asyncio.gather(*map(one, self.doors))
        self._samples.append([status for status in found if status is not None])

    def _failures(self) -> tuple[str, ...]:
        now = time.monotonic_ns()
        healed = self.began + healed_at(self.name, self.duration)
        return tuple(
            failure
            for client in self.clients
            for failure in client.failures(healed + RETURN_NS, now)
        )

    def _outcome(
        self, term: int, during: list[list[Status]], failed: tuple[str, ...]
    ) -> CutOutcome:
        writes = [since(self.began, client.confirmed) for client in self.clients]
        any_node, by_node = served(writes, self.duration)
        leading = [sum(one["role"] == "leader" for one in sample) for sample in during]
        return CutOutcome(
            self.name,
            self.leader,
            Availability(any_node, by_node, _highest_term(during) - term, max(leading)),
            sum(count > 1 for count in leading) / len(leading),
            _longest_gap_s([pair for node in writes for pair in node], self.duration),
            _growth(during, lambda status: int(status["transport"]["cut"])),
            _growth(during, lambda status: int(status["relayed"])),
            failed,
            check(operation for client in self.clients for operation in client.operations),
        )


class Client:
    """Asks one node. Its requests do not wait for each other, as those of different people would
    not; so they may happen in another order than they were begun in."""

    def __init__(self, number: int, door: Door) -> None:
        self.key = f"cut/{number}"
        self.operations: list[Operation] = []  # those that have ended
        self.confirmed: list[tuple[Nanoseconds, Nanoseconds]] = []  # writes: asked, confirmed
        self._door = door
        self._last = 0
        self._failed: list[tuple[Nanoseconds, str]] = []
        self._waiting: dict[asyncio.Task[None], Nanoseconds] = {}

    def write(self) -> None:
        """Ask for one more."""
        self._last += 1
        self._begin(Kind.WRITE, self.key, self._last)

    def read(self, key: str) -> None:
        """Ask what there is."""
        self._begin(Kind.READ, key, None)

    async def stop(self) -> None:
        """Wait for nothing any more. What has not ended may happen yet."""
        waiting = list(self._waiting)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)  # they are cancelled

    def failures(self, since: Nanoseconds, ended: Nanoseconds) -> list[str]:
        """What failed after `since`, or was not answered for a second and more at the end."""
        late = sum(ended - asked > RETURN_NS for asked in self._waiting.values())
        refused = [error for at, error in self._failed if at > since]
        return [*refused, *["no answer"] * late]

    def _begin(self, kind: Kind, key: str, value: int | None) -> None:
        task = asyncio.create_task(self._carry_out(kind, key, value))
        self._waiting[task] = time.monotonic_ns()
        task.add_done_callback(lambda _: self._waiting.pop(task))

    async def _carry_out(self, kind: Kind, key: str, value: int | None) -> None:
        asked, result = time.monotonic_ns(), None
        ended: Nanoseconds | None = None
        outcome = Outcome.UNKNOWN
        path = f"/v1/registers/{key}"
        try:
            if kind is Kind.WRITE:
                await self._door.put(path, str(value).encode())
            else:
                result = await self._value_at(path)
            ended, outcome = time.monotonic_ns(), Outcome.OK
        except DoorError as fault:
            self._failed.append((time.monotonic_ns(), f"{self.key}: {fault.kind}: {fault}"))
        finally:  # also when nobody waits any more
            process = f"{self.key} {kind.value} {len(self.operations)}"
            self.operations.append(
                Operation(process, kind, key, value, result, asked, ended, outcome)
            )
        if kind is Kind.WRITE and ended is not None:
            self.confirmed.append((asked, ended))

    async def _value_at(self, path: str) -> int | None:
        try:
            return int(await self._door.get_bytes(f"{path}?consistency=linearizable"))
        except DoorError as fault:
            if fault.kind == "NotFound":
                return None
            raise


def _highest_term(samples: Sequence[Sequence[Status]]) -> int:
    return max(int(one["term"]) for sample in samples for one in sample)


def _longest_gap_s(
    writes: Sequence[tuple[Nanoseconds, Nanoseconds]], duration: Nanoseconds
) -> float:
    """Between two of the confirmations, the cut's begin and its end."""
    times = sorted(min(confirmed, duration) for _, confirmed in writes)
    pairs = zip([0, *times], [*times, duration], strict=True)
    return max(later - earlier for earlier, later in pairs) / SECOND


def _growth(samples: Sequence[Sequence[Status]], count: Callable[[Status], int]) -> int:
    """Of what the nodes count, from the first sample that has all of them to the last."""
    size = max(map(len, samples))
    whole = [sum(map(count, sample)) for sample in samples if len(sample) == size]
    return whole[-1] - whole[0]


async def _every(period_s: float, act: Callable[[], Awaitable[None]]) -> None:
    """Act again and again, until cancelled. Periods that were missed are left out."""
    at = time.monotonic()
    while True:
        await act()
        at = max(at + period_s, time.monotonic() - period_s)
        await asyncio.sleep(max(0.0, at - time.monotonic()))
