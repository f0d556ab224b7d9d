"""A run from a seed: the seed draws sizes, conditions, faults and a job; then all is healed, and
the team must converge.

Safety phase: links lose, delay and repeat, nodes crash and come back, the team is cut in two.
Liveness phase: everything is repaired, and within bounded virtual time the job must be finished
and all nodes must agree. Verdicts: held, crash, no convergence, invariant broken.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass, replace
from enum import Enum
from random import Random

from protocol import config as presets
from protocol.clocks import MILLISECOND, SECOND, Nanoseconds
from protocol.sim.checkers import Checkers, InvariantBroken
from protocol.sim.network import Network
from protocol.sim.workload import (
    SimulatedAgents,
    WorkloadOptions,
    clients_of,
    draw_workload,
)
from protocol.sim.world import Host, World

FAULTS_FROM = 2 * SECOND
LIVENESS_MAX = 120 * SECOND


class Verdict(Enum):
    """How a run ended; the value is the process's exit code."""

    HELD = 0
    CRASH = 3
    NO_CONVERGENCE = 4
    INVARIANT_BROKEN = 5


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a seed drew, apart from the draws made along the way."""

    nodes: int
    faults_s: float
    loss: float
    duplication: float
    delay_ms: float
    disk_ms: float
    crashes: int
    cuts: int
    work: WorkloadOptions

    def __str__(self) -> str:
        return (
            f"nodes={self.nodes} faults={self.faults_s:.0f}s loss={self.loss:.2f} "
            f"duplication={self.duplication:.2f} delay={self.delay_ms:.1f}ms "
            f"disk={self.disk_ms:.1f}ms crashes={self.crashes} cuts={self.cuts} {self.work}"
        )


def draw(seed: int, nodes: int | None = None) -> Drawn:
    """The options of a seed; `nodes` overrides the drawn size. Each kind of fault is absent in
    some seeds, mild in most and harsh in a few: what is always there hides what it masks."""
    random = Random(f"{seed}/options")
    drawn = Drawn(
        nodes=random.choice((1, 2, 3, 3, 4, 5, 5, 5, 7, 8)),
        faults_s=random.choice((8.0, 15.0, 30.0)),
        loss=random.choice((0.0, 0.01, 0.05, 0.3)),
        duplication=random.choice((0.0, 0.02, 0.2)),
        delay_ms=random.choice((0.3, 2.0, 10.0, 50.0)),
        disk_ms=random.choice((0.1, 1.0, 10.0, 60.0)),
        crashes=random.choice((0, 0, 1, 3, 8)),
        cuts=random.choice((0, 0, 1, 2, 5)),
        work=draw_workload(random),
    )
    return replace(drawn, nodes=nodes) if nodes is not None else drawn


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run."""

    seed: int
    drawn: Drawn
    verdict: Verdict
    detail: str
    virtual_s: float
    steps: int
    trace_digest: str
    trace: tuple[str, ...]

    def summary(self) -> str:
        """One line for people; a failed one says how to repeat it."""
        line = (
            f"seed {self.seed}: {self.verdict.name.lower()} after {self.virtual_s:.1f} virtual s, "
            f"{self.steps} steps, trace {self.trace_digest[:16]}"
        )
        if self.verdict is Verdict.HELD:
            return line
        command = f"quorate sim --seed {self.seed} --nodes {self.drawn.nodes}"
        return f"{line}\n  {self.detail}\n  drawn: {self.drawn}\n  repeat: {command} --trace"


class Run:
    """One seed being run."""

    def __init__(self, seed: int, drawn: Drawn) -> None:
        self.seed = seed
        self.drawn = drawn
        self.random = Random(f"{seed}/schedule")
        network = Network(
            Random(f"{seed}/network"),
            delay_mean_ns=int(drawn.delay_ms * MILLISECOND),
            loss=drawn.loss,
            duplication=drawn.duplication,
        )
        agents = SimulatedAgents(Random(f"{seed}/agents"), drawn.work)
        base = presets.local()
        config = replace(base, team=replace(base.team, slots=drawn.work.slots))
        self.world = World(seed, config, network, agents)
        self.checkers = Checkers()
        self.world.watchers.append(self.checkers)
        self.clients = clients_of(self.world, self.random, drawn.work)
        self._healed = False

    def execute(self) -> Outcome:
        """Run it to its verdict."""
        try:
            verdict, detail = self._phases()
        except InvariantBroken as broken:
            verdict, detail = Verdict.INVARIANT_BROKEN, str(broken)
        except Exception:  # whatever it is, the seed is the bug report
            verdict, detail = Verdict.CRASH, traceback.format_exc()
        world = self.world
        return Outcome(
            self.seed,
            self.drawn,
            verdict,
            detail,
            world.now / SECOND,
            world.steps,
            world.trace_digest(),
            tuple(world.trace),
        )

    def _phases(self) -> tuple[Verdict, str]:
        drawn, world = self.drawn, self.world
        for number in range(drawn.nodes):
            host = world.add_host(found=number == 0, expected=drawn.nodes)
            host.disk_delay_ns = int(drawn.disk_ms * MILLISECOND)
            world.at(self.random.randrange(SECOND // 2), host.start)
        faults_end = FAULTS_FROM + int(drawn.faults_s * SECOND)
        self._schedule_faults(faults_end)
        for client in self.clients:
            world.at(FAULTS_FROM + self.random.randrange(SECOND), client.ask)
        world.run(faults_end)
        self.checkers.check_logs(world.hosts)
        self._heal()
        converged = world.run(faults_end + LIVENESS_MAX, self._is_converged)
        self.checkers.check_logs(world.hosts)
        self.checkers.check_stores(world.hosts)
        for client in self.clients:
            self.checkers.check_answer(world.hosts, client.job, client.answer)
        if not converged:
            return Verdict.NO_CONVERGENCE, "; ".join(repr(host.peer) for host in world.hosts)
        return Verdict.HELD, ""

    def _schedule_faults(self, end: Nanoseconds) -> None:
        world, random = self.world, self.random
        for _ in range(self.drawn.crashes):
            at = random.randrange(FAULTS_FROM, end)
            back = min(at + random.randrange(100 * MILLISECOND, 6 * SECOND), end)
            host_number = random.randrange(self.drawn.nodes)
            world.at(at, lambda n=host_number: self._crash(n))  # type: ignore[misc]
            world.at(back, lambda n=host_number: self._restart(n))  # type: ignore[misc]
        for _ in range(self.drawn.cuts):
            at = random.randrange(FAULTS_FROM, end)
            back = min(at + random.randrange(SECOND, 10 * SECOND), end)
            order = random.sample(range(self.drawn.nodes), self.drawn.nodes)
            size = random.randint(0, self.drawn.nodes - 1)
            both_ways = random.random() < 0.7
            world.at(at, lambda o=order, s=size, b=both_ways: self._cut(o, s, b))  # type: ignore[misc]
            world.at(back, world.network.blocked.clear)

    def _crash(self, number: int) -> None:
        if self.world.hosts[number].is_up and not self._healed:
            self.world.hosts[number].crash()

    def _restart(self, number: int) -> None:
        if not self.world.hosts[number].is_up:
            self.world.hosts[number].start()

    def _cut(self, order: list[int], size: int, both_ways: bool) -> None:
        if not self._healed:
            self.world.network.cut(order[:size], order[size:], both_ways)

    def _heal(self) -> None:
        self._healed = True
        self.world.network.heal()
        self.world.network.delay_mean_ns = MILLISECOND
        for host in self.world.hosts:
            host.disk_delay_ns = MILLISECOND // 2
            if not host.is_up:
                host.start()

    def _is_converged(self) -> bool:
        peers = [host.peer for host in self.world.hosts if host.peer]
        first = peers[0]
        if len(peers) < len(self.world.hosts):
            return False
        if any(client.answer is None for client in self.clients):
            return False
        outcomes = [(job, state.outcome) for job, state in first.ledger.jobs.items()]
        if len(outcomes) < self.drawn.work.jobs or not all(outcome for _, outcome in outcomes):
            return False
        return all(
            [(job, state.outcome) for job, state in peer.ledger.jobs.items()] == outcomes
            and peer.ledger.applied == first.ledger.applied
            and peer.store.fingerprint() == first.store.fingerprint()
            and len(peer.membership.alive()) == len(peers) - 1
            for peer in peers
        )


def simulate(seed: int, nodes: int | None = None) -> Outcome:
    """Run one seed."""
    return Run(seed, draw(seed, nodes)).execute()


__all__ = ["Drawn", "Host", "Outcome", "Run", "Verdict", "draw", "simulate"]
