"""Plans for the simulator that are aimed at one kind of rule: what a swarm does everywhere a little
they do often, so that few seeds are needed to see that the rule is missing.

    simulate(seed, plan=AIMS["leases"](seed))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from protocol.clocks import MILLISECOND, SECOND, Nanoseconds
from protocol.sim.clock import ClockConditions
from protocol.sim.drive import InFlight
from protocol.sim.faults import (
    Crash,
    Cut,
    IsolateLeader,
    Pause,
    Shape,
    TimedFault,
    Transfer,
)
from protocol.sim.knobs import Knobs
from protocol.sim.network import LinkConditions
from protocol.sim.plan import FAULTS_FROM, Plan, Rest, plan_of
from protocol.sim.register_clients import NO_REGISTERS, RegisterOptions
from protocol.sim.workload import PLAIN

END: Nanoseconds = 20 * SECOND
BUSY = RegisterOptions(clients=5, keys=1, think_ns=20 * MILLISECOND)
Draw = Callable[[Random, int, int, Nanoseconds], list[TimedFault]]


def aimed(seed: int, nodes: int, draw: Draw, count: int) -> Plan:
    """Good links, disks and clocks, busy registers, one small job; and so many faults of a kind."""
    random = Random(f"{seed}/aimed")
    faults: list[TimedFault] = []
    for _ in range(count):
        at = random.randrange(FAULTS_FROM, END - 2 * SECOND)
        faults += draw(random, len(faults), nodes, at)
    return replace(
        plan_of(seed, nodes),
        end_ns=END,
        knobs=Knobs(),
        links=LinkConditions(ordered=True),
        disk_ns=MILLISECOND // 10,
        clocks=ClockConditions(),
        work=PLAIN,
        registers=BUSY,
        rest=Rest.HEALED,
        faults=tuple(sorted(faults, key=lambda fault: fault.at_ns)),
    )


# -- kinds of trouble -----------------------------------------------------------------------------


def isolations(random: Random, number: int, nodes: int, at: Nanoseconds) -> list[TimedFault]:
    return [IsolateLeader(number, at, at + random.randrange(SECOND // 2, 3 * SECOND))]


def pauses(random: Random, number: int, nodes: int, at: Nanoseconds) -> list[TimedFault]:
    until = at + random.randrange(SECOND, 4 * SECOND)
    return [Pause(number, at, random.randrange(nodes), until)]


def transfers(random: Random, number: int, nodes: int, at: Nanoseconds) -> list[TimedFault]:
    return [Transfer(number + node, at, node) for node in range(nodes)]


def handovers(random: Random, number: int, nodes: int, at: Nanoseconds) -> list[TimedFault]:
    """Whoever led is cut off before it hears that another leads already."""
    faults = transfers(random, number, nodes, at)
    cut_at = at + random.randrange(2 * MILLISECOND, 60 * MILLISECOND)
    return [
        *faults,
        IsolateLeader(number + nodes, cut_at, cut_at + random.randrange(SECOND // 2, 2 * SECOND)),
    ]


def crashes(random: Random, number: int, nodes: int, at: Nanoseconds) -> list[TimedFault]:
    node, back = random.randrange(nodes), at + random.randrange(50, 1_500) * MILLISECOND
    return [Crash(number, at, node, back, 0, False, InFlight.LOST)]


def gaps(random: Random, number: int, nodes: int, at: Nanoseconds) -> list[TimedFault]:
    """Some pairs do not hear each other; others do, so that there is a way around."""
    order = tuple(random.sample(range(nodes), nodes))
    shape = random.choice((Shape.ONE_WAY, Shape.BRIDGE, Shape.RING))
    return [Cut(number, at, at + random.randrange(SECOND, 5 * SECOND), shape, order, 1)]


def either(*draws: Draw) -> Draw:
    def draw(random: Random, number: int, nodes: int, at: Nanoseconds) -> list[TimedFault]:
        return random.choice(draws)(random, number, nodes, at)

    return draw


# -- aims -----------------------------------------------------------------------------------------


def reads(seed: int) -> Plan:
    """Leaders that are cut off while they hand over, and clients that read everywhere."""
    plan = aimed(seed, 3, handovers, 20)
    links = LinkConditions(delay_mean_ns=10 * MILLISECOND)
    return replace(plan, links=links, registers=replace(BUSY, think_ns=5 * MILLISECOND))


def leases(seed: int) -> Plan:
    """Leaders that are cut off, asked to hand over, or crash, where clocks differ in their rate, a
    lease is nearly as long as an election takes, and disks are slow."""
    plan = aimed(seed, 3, either(isolations, transfers, crashes), 24)
    knobs = Knobs(preset="wan", heartbeat_ns=200 * MILLISECOND, election_timeout_ns=SECOND)
    delay = (MILLISECOND, 60 * MILLISECOND)[seed % 2]
    return replace(
        plan,
        knobs=knobs,
        links=LinkConditions(delay_mean_ns=delay, ordered=True),
        clocks=ClockConditions(drift_ppm=40_000),
    )


def sessions(seed: int) -> Plan:
    """A snapshot at each entry, and nodes that come back to be sent it; messages are repeated."""
    plan = aimed(seed, 3, either(crashes, pauses, isolations), 14)
    links = LinkConditions(loss=0.05, duplication=0.2)
    knobs = Knobs(compact_entries=3, trailing_entries=0, snapshot_part_size=5_000)
    return replace(plan, links=links, knobs=knobs)


def roundabout(seed: int) -> Plan:
    """Links that are broken one by one, so that messages go around."""
    plan = aimed(seed, 5, gaps, 8)
    return replace(plan, links=LinkConditions(duplication=0.1))


def elections(seed: int) -> Plan:
    """Leaders fall one after the other, with much in their logs that is not committed, and disks
    that take their time."""
    plan = aimed(seed, 5, either(isolations, crashes, pauses), 24)
    knobs = Knobs(heartbeat_ns=40 * MILLISECOND, election_timeout_ns=200 * MILLISECOND)
    links = LinkConditions(delay_mean_ns=10 * MILLISECOND, tail=0.02, loss=0.05, duplication=0.05)
    return replace(plan, knobs=knobs, links=links, disk_ns=10 * MILLISECOND)


def liars(seed: int) -> Plan:
    """Tasks that are decided by two of three answers, and a node that lies."""
    work = replace(PLAIN, tasks=10, quorum=3, slots=2, liar=True)
    return replace(aimed(seed, 5, pauses, 2), work=work, registers=NO_REGISTERS)


def zombies(seed: int) -> Plan:
    """Nodes that sleep longer than their claims last, and hand in when they wake up, while others
    are slowly at work on the same."""
    random = Random(f"{seed}/zombies")
    plan = aimed(seed, 3, pauses, 0)
    faults = []
    for number in range(8):
        at = FAULTS_FROM + number * 6 * SECOND + random.randrange(2 * SECOND)
        asleep = random.randrange(11, 25) * SECOND
        faults.append(Pause(number, at, random.randrange(3), at + asleep))
    work = replace(PLAIN, tasks=14, agent_slow=0.5)
    return replace(
        plan, work=work, registers=NO_REGISTERS, faults=tuple(faults), end_ns=60 * SECOND
    )


AIMS: dict[str, Callable[[int], Plan]] = {
    "reads": reads,
    "leases": leases,
    "sessions": sessions,
    "roundabout": roundabout,
    "elections": elections,
    "liars": liars,
    "zombies": zombies,
}
