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
from protocol.sim.disk import Rot
from protocol.sim.drive import InFlight
from protocol.sim.faults import (
    BitRot,
    Crash,
    CrashAfter,
    Cut,
    DiskHang,
    Garble,
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
from protocol.sim.sharers import NO_SHARING, SharingOptions
from protocol.sim.workload import PLAIN, TOKENS_PER_ATTEMPT

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
        sharing=NO_SHARING,
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


def damages(random: Random, number: int, nodes: int, at: Nanoseconds) -> list[TimedFault]:
    """Part of a log is lost; that is found at the start after a crash."""
    node, back = random.randrange(nodes), at + random.randrange(50, 1_500) * MILLISECOND
    rot = BitRot(number, at, node, Rot.LOG)
    return [rot, Crash(number + 1, at, node, back, 0, False, InFlight.LOST)]


def garbles(random: Random, number: int, nodes: int, at: Nanoseconds) -> list[TimedFault]:
    node = random.randrange(nodes)
    return [Garble(number, at, node, at + random.randrange(SECOND, 4 * SECOND))]


def hangs(random: Random, number: int, nodes: int, at: Nanoseconds) -> list[TimedFault]:
    node = random.randrange(nodes)
    return [DiskHang(number, at, node, at + random.randrange(6 * SECOND, 9 * SECOND))]


def relapses(message: str, times: int) -> Draw:
    """A node falls as soon as it has sent such a message, again and again."""

    def draw(random: Random, number: int, nodes: int, at: Nanoseconds) -> list[TimedFault]:
        node, every = random.randrange(nodes), 5 * MILLISECOND
        return [
            CrashAfter(number + time, at + time * every, node, message, MILLISECOND)
            for time in range(times)
        ]

    return draw


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
    """Links that are broken one by one, so that messages go around, by way of some that change
    them."""
    plan = aimed(seed, 5, either(gaps, gaps, garbles), 12)
    links = LinkConditions(duplication=0.1 * (seed % 2))
    return replace(plan, links=links, registers=replace(BUSY, think_ns=80 * MILLISECOND))


def elections(seed: int) -> Plan:
    """Leaders fall one after the other, with much in their logs that is not committed, and disks
    that take their time."""
    plan = aimed(seed, 5, either(isolations, crashes, pauses), 24)
    knobs = Knobs(heartbeat_ns=40 * MILLISECOND, election_timeout_ns=200 * MILLISECOND)
    links = LinkConditions(delay_mean_ns=10 * MILLISECOND, tail=0.02, loss=0.05, duplication=0.05)
    return replace(plan, knobs=knobs, links=links, disk_ns=10 * MILLISECOND)


def forgetful(seed: int) -> Plan:
    """Nodes that fall over what they have just said, so that they must still know it."""
    draw = either(gaps, relapses("AppendReply", 4), relapses("AppendReply", 40))
    plan = aimed(seed, 5, draw, 24)
    knobs = Knobs(preset="wan", heartbeat_ns=200 * MILLISECOND, election_timeout_ns=SECOND)
    return replace(plan, knobs=knobs, links=LinkConditions(delay_mean_ns=5 * MILLISECOND))


def authors(seed: int) -> Plan:
    """Nodes that fall as soon as they have told what they wrote, before slow disks have it."""
    plan = aimed(seed, 3, relapses("Push", 2), 30)
    work = replace(PLAIN, jobs=2, tasks=14)
    return replace(plan, work=work, registers=NO_REGISTERS, disk_ns=40 * MILLISECOND)


def readers(seed: int) -> Plan:
    """Nodes that fall as soon as they have asked the leader for a read, and ask again."""
    plan = aimed(seed, 3, relapses("ReadRequest", 30), 16)
    links = LinkConditions(delay_mean_ns=20 * MILLISECOND)
    return replace(plan, links=links, registers=replace(BUSY, clients=8, think_ns=MILLISECOND))


def damage(seed: int) -> Plan:
    """Journals that lose part of the log, one after the other. It comes back in small messages,
    so that who lost much lacks it for long."""
    plan = aimed(seed, 5, either(damages, damages, isolations), 8)
    return replace(plan, knobs=Knobs(append_size_max=300, inflight_max=1))


def gossips(seed: int) -> Plan:
    """Most of what is known is known by hearsay, and some do not pass on what they heard."""
    plan = aimed(seed, 7, either(garbles, garbles, gaps, crashes), 30)
    knobs = Knobs(council_size=3, compact_entries=10, trailing_entries=0)
    return replace(plan, knobs=knobs, registers=replace(BUSY, think_ns=100 * MILLISECOND))


def hung(seed: int) -> Plan:
    """Disks that do nothing for longer than a leader may wait."""
    plan = aimed(seed, 3, hangs, 6)
    return replace(plan, registers=replace(BUSY, think_ns=100 * MILLISECOND))


def parts(seed: int) -> Plan:
    """Snapshots in very many parts, and messages that are repeated."""
    plan = aimed(seed, 3, either(crashes, pauses, isolations), 14)
    links = LinkConditions(duplication=0.3)
    knobs = Knobs(compact_entries=3, trailing_entries=0, snapshot_part_size=100)
    return replace(plan, links=links, knobs=knobs)


def patience(seed: int) -> Plan:
    """Majorities that sleep for longer than a client waits."""
    plan = aimed(seed, 3, pauses, 0)
    random = Random(f"{seed}/patience")
    faults: list[TimedFault] = []
    for at in range(FAULTS_FROM + SECOND, END, 14 * SECOND):
        for node in random.sample(range(3), 2):
            until = at + random.randrange(11 * SECOND, 12 * SECOND)
            faults.append(Pause(len(faults), at, node, until))
    registers = replace(BUSY, clients=8, keys=3, think_ns=200 * MILLISECOND)
    return replace(
        plan, faults=tuple(faults), registers=registers, end_ns=FAULTS_FROM + 30 * SECOND
    )


def blackouts(seed: int) -> Plan:
    """Most of the team is without power, and most of the council is not."""
    plan = aimed(seed, 7, pauses, 0)
    random = Random(f"{seed}/blackouts")
    faults = [
        Crash(number, at, node, at + 25 * SECOND, 0, True, InFlight.LOST)
        for at in range(5 * SECOND, 95 * SECOND, 30 * SECOND)
        for number, node in enumerate(random.sample(range(7), 4), start=at // SECOND)
    ]
    registers = replace(BUSY, clients=1, think_ns=SECOND)
    knobs = Knobs(council_size=3)
    return replace(
        plan, knobs=knobs, faults=tuple(faults), registers=registers, end_ns=100 * SECOND
    )


def late_answers(seed: int) -> Plan:
    """As `leases`, with answers that arrive when nobody waits for them any more."""
    links = LinkConditions(delay_mean_ns=15 * MILLISECOND, tail=0.1)
    return replace(leases(seed), links=links, clocks=ClockConditions())


def liars(seed: int) -> Plan:
    """Tasks that are decided by two of three answers, and a node that lies."""
    work = replace(PLAIN, tasks=10, quorum=3, slots=2, liar=True)
    return replace(aimed(seed, 5, pauses, 2), work=work, registers=NO_REGISTERS)


def thrift(seed: int) -> Plan:
    """A budget for some of the tasks, on nodes that fall while their agents are at work."""
    work = replace(PLAIN, tasks=12, slots=2, agent_failures=0.1, tokens=5 * TOKENS_PER_ATTEMPT)
    return replace(aimed(seed, 3, crashes, 8), work=work, registers=NO_REGISTERS)


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


def absences(seed: int) -> Plan:
    """Values that come and go, what all have is dropped at once, and nodes are away for so long
    that they are forgotten, or fall before slow disks have what they said."""
    random = Random(f"{seed}/absences")
    plan = aimed(seed, 4, either(crashes, gaps, hangs, garbles), 10)
    faults = list(plan.faults)
    for node in random.sample(range(4), 2):
        at = random.randrange(FAULTS_FROM, END // 2)
        faults.append(Crash(len(faults), at, node, at + 6 * SECOND, 0, False, InFlight.LOST))
    knobs = Knobs(
        collect_interval_ns=100 * MILLISECOND,
        forget_after_ns=random.choice((0, SECOND)),
        horizon_ns=SECOND,
        delta_size_max=random.choice((1, 1_000, 100_000)),
    )
    return replace(
        plan,
        knobs=knobs,
        sharing=SharingOptions(3, 30, 50 * MILLISECOND),
        registers=NO_REGISTERS,
        disk_ns=random.choice((MILLISECOND, 40 * MILLISECOND)),
        links=LinkConditions(loss=0.05, duplication=0.05),
        faults=tuple(sorted(faults, key=lambda fault: fault.at_ns)),
    )


def overloads(seed: int) -> Plan:
    """Clients share few values and write more than exchanges carry, so that writes have to wait."""
    plan = aimed(seed, 4, either(crashes, gaps), 4)
    return replace(
        plan,
        knobs=Knobs(delta_size_max=1, pace_min=1),
        sharing=SharingOptions(3, 1, 20 * MILLISECOND),
        registers=NO_REGISTERS,
        links=LinkConditions(loss=0.2),
    )


def quotas(seed: int) -> Plan:
    """Authors may have little held at a time, and clients have them write more than that."""
    plan = aimed(seed, 3, either(crashes, gaps), 4)
    return replace(
        plan,
        knobs=Knobs(collect_interval_ns=100 * MILLISECOND, entries_per_author_max=40),
        sharing=SharingOptions(3, 30, 50 * MILLISECOND),
        registers=NO_REGISTERS,
    )


AIMS: dict[str, Callable[[int], Plan]] = {
    "reads": reads,
    "leases": leases,
    "sessions": sessions,
    "roundabout": roundabout,
    "elections": elections,
    "forgetful": forgetful,
    "authors": authors,
    "readers": readers,
    "damage": damage,
    "gossips": gossips,
    "hung": hung,
    "parts": parts,
    "patience": patience,
    "blackouts": blackouts,
    "late answers": late_answers,
    "liars": liars,
    "thrift": thrift,
    "zombies": zombies,
    "absences": absences,
    "overloads": overloads,
    "quotas": quotas,
}
