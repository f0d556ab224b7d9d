"""What a seed draws, all of it before anything happens: sizes, knobs, conditions, timed faults.

Swarm testing (Groce et al. 2012): each kind of trouble is absent in some seeds, mild in most and
harsh in a few, for what is always there hides what it masks. A plan can be reduced (fewer nodes,
some of the faults, a shorter run, plain conditions), and its `arguments` repeat it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import Enum
from random import Random

from protocol.clocks import MILLISECOND, SECOND, Nanoseconds
from protocol.sim.clock import ClockConditions
from protocol.sim.fault_draw import draw_faults
from protocol.sim.faults import TimedFault
from protocol.sim.knobs import Knobs, draw_knobs
from protocol.sim.network import LinkConditions
from protocol.sim.register_clients import NO_REGISTERS, RegisterOptions, draw_registers
from protocol.sim.sharers import NO_SHARING, SharingOptions, draw_sharing
from protocol.sim.workload import PLAIN, WorkloadOptions, draw_workload, with_failures

FAULTS_FROM: Nanoseconds = 2 * SECOND
LARGE = 40_000  # bytes of a result
REAL_SIGNATURES = 1 / 8  # of the seeds; the others have cheap ones in their place
SEEDS_GIVEN = 3  # nodes whose addresses everybody is given


class Rest(Enum):
    """What remains of the nodes outside the core while the core must get on without them."""

    HEALED = "healed"  # there is no such phase: all is healed at once
    DOWN = "down"
    ISOLATED = "isolated"
    DEAF = "deaf"  # they hear nothing, and are heard
    MUTE = "mute"


@dataclass(frozen=True, slots=True)
class Reduction:
    """How a drawn plan was made smaller, as a command line says it. None: as drawn."""

    nodes: int | None = None
    only_faults: tuple[int, ...] | None = None
    until_ns: Nanoseconds | None = None
    plain: tuple[str, ...] = ()  # which of PLAIN_PARTS are as plain as can be

    def arguments(self) -> str:
        """The options of `quorate sim` beside the seed."""
        words = []
        if self.nodes is not None:
            words.append(f"--nodes {self.nodes}")
        if self.only_faults is not None:
            words.append(f"--only-faults {','.join(map(str, self.only_faults)) or 'none'}")
        if self.until_ns is not None:
            words.append(f"--until {self.until_ns / SECOND:g}")
        if self.plain:
            words.append(f"--plain {','.join(self.plain)}")
        return " ".join(words)


PLAIN_PARTS = (
    *("knobs", "links", "disks", "clocks", "work", "registers", "sharing", "rest", "signatures"),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole run. Faults happen between FAULTS_FROM and `end_ns`; then comes the liveness phase.
    `disk_ns` is the mean time of a write."""

    seed: int
    nodes: int
    end_ns: Nanoseconds
    knobs: Knobs
    links: LinkConditions
    disk_ns: Nanoseconds
    clocks: ClockConditions
    work: WorkloadOptions
    registers: RegisterOptions
    sharing: SharingOptions
    rest: Rest
    real_signatures: bool
    faults: tuple[TimedFault, ...]
    reduction: Reduction = Reduction()

    @property
    def command(self) -> str:
        """What repeats this run."""
        return f"quorate sim --seed {self.seed} {self.reduction.arguments()}".rstrip()

    def __str__(self) -> str:
        lines = [
            f"nodes={self.nodes} end={self.end_ns / SECOND:g}s "
            f"disk={self.disk_ns / MILLISECOND:g}ms rest={self.rest.value} "
            f"signatures={'real' if self.real_signatures else 'simulated'}",
            f"knobs: {self.knobs}",
            f"links: {self.links}",
            f"clocks: {self.clocks}",
            f"work: {self.work}",
            f"registers: {self.registers}",
            f"sharing: {self.sharing}",
            *map(str, self.faults),
        ]
        return "\n    ".join(lines)


def draw(seed: int) -> Plan:
    """The plan of a seed."""
    random = Random(f"{seed}/plan")
    nodes = random.choice((1, 2, 3, 3, 4, 5, 5, 5, 7, 8))
    end = FAULTS_FROM + random.choice((8, 15, 30)) * SECOND
    knobs = draw_knobs(random, Random(f"{seed}/moments"))
    plan = Plan(
        seed=seed,
        nodes=nodes,
        end_ns=end,
        knobs=knobs,
        links=draw_links(random),
        disk_ns=random.choice((MILLISECOND // 10, MILLISECOND, 10 * MILLISECOND, 60 * MILLISECOND)),
        clocks=draw_clocks(random),
        work=with_failures(
            Random(f"{seed}/failures"), draw_workload(random, Random(f"{seed}/purse")), nodes
        ),
        registers=draw_registers(random),
        sharing=draw_sharing(Random(f"{seed}/sharing")),
        rest=random.choice(tuple(Rest)),
        real_signatures=random.random() < REAL_SIGNATURES,
        faults=draw_faults(Random(f"{seed}/faults"), nodes, FAULTS_FROM, end),
    )
    if plan.work.result_size > LARGE and knobs.snapshot_part_size:
        # Megabytes in parts of some bytes would be old before they are there.
        plan = replace(plan, knobs=replace(knobs, snapshot_part_size=LARGE))
    return plan


def draw_links(random: Random) -> LinkConditions:
    """Near, far, with a long tail, or with slow pairs; and how bad they are at all times."""
    return LinkConditions(
        delay_mean_ns=random.choice(
            (MILLISECOND // 3, 2 * MILLISECOND, 10 * MILLISECOND, 50 * MILLISECOND)
        ),
        tail=random.choice((0.0, 0.0, 0.001, 0.02)),
        slow_every=random.choice((0, 0, 0, 3, 7)),
        loss=random.choice((0.0, 0.0, 0.01, 0.05, 0.3)),
        duplication=random.choice((0.0, 0.0, 0.02, 0.2)),
        corruption=random.choice((0.0, 0.0, 0.001, 0.05)),
        ordered=random.random() < 0.4,
    )


def draw_clocks(random: Random) -> ClockConditions:
    """Good ones, usual ones, and impossible ones."""
    return ClockConditions(
        drift_ppm=random.choice((0, 0, 100, 20_000)),
        skew_ns=random.choice((0, 0, 50 * MILLISECOND, 20 * SECOND, 600 * SECOND)),
        booted=random.random() < 0.5,
    )


def reduced(plan: Plan, reduction: Reduction) -> Plan:
    """The plan as far as the reduction leaves it. Faults of nodes that are not there are dropped;
    whatever is left stays as it was drawn."""
    nodes = plan.nodes if reduction.nodes is None else reduction.nodes
    end = plan.end_ns if reduction.until_ns is None else reduction.until_ns
    faults = [fault for fault in plan.faults if fault.at_ns < end]
    if reduction.only_faults is not None:
        faults = [fault for fault in faults if fault.number in reduction.only_faults]
    plain = reduction.plain
    return replace(
        plan,
        nodes=nodes,
        end_ns=end,
        knobs=Knobs() if "knobs" in plain else plan.knobs,
        links=LinkConditions() if "links" in plain else plan.links,
        disk_ns=MILLISECOND // 2 if "disks" in plain else plan.disk_ns,
        clocks=ClockConditions() if "clocks" in plain else plan.clocks,
        work=PLAIN if "work" in plain else plan.work,
        registers=NO_REGISTERS if "registers" in plain else plan.registers,
        sharing=NO_SHARING if "sharing" in plain else plan.sharing,
        rest=Rest.HEALED if "rest" in plain else plan.rest,
        real_signatures=plan.real_signatures and "signatures" not in plain,
        faults=tuple(faults),
        reduction=reduction,
    )


def plan_of(
    seed: int,
    nodes: int | None = None,
    only_faults: Collection[int] | None = None,
    until_ns: Nanoseconds | None = None,
    plain: Collection[str] = (),
) -> Plan:
    """The plan of a seed, made smaller on request."""
    faults = None if only_faults is None else tuple(sorted(only_faults))
    parts = tuple(part for part in PLAIN_PARTS if part in plain)
    return reduced(draw(seed), Reduction(nodes, faults, until_ns, parts))
