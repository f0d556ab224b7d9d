"""A run from a seed: the seed draws a plan; first it is carried out, then all is healed, and the
team must converge.

Safety phase: links, disks, clocks, nodes and agents misbehave as planned. Liveness phase: a core
is healed (a majority of the voters; the rest stays broken) and must finish its jobs and agree
within bounded virtual time; then everybody is healed, and all must agree. Verdicts: held, crash,
no convergence, invariant broken.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass, replace
from enum import Enum
from random import Random

from protocol.clocks import SECOND, Nanoseconds
from protocol.jobs import VerifyBy
from protocol.peer import Peer
from protocol.sim.checkers import Checkers
from protocol.sim.injection import Injection
from protocol.sim.knobs import config_of
from protocol.sim.network import Network
from protocol.sim.plan import FAULTS_FROM, SEEDS_GIVEN, Plan, plan_of
from protocol.sim.register_clients import register_clients
from protocol.sim.sharers import sharers
from protocol.sim.watch import Fate, InvariantBroken, Watcher
from protocol.sim.workload import SimulatedAgents, clients_of
from protocol.sim.world import STEPS_MAX, Host, World

LIVENESS_MAX: Nanoseconds = 240 * SECOND  # two that find each other wrong try all attempts
OUTAGE_FROM: Nanoseconds = FAULTS_FROM + SECOND
RESUMED_AFTER: Nanoseconds = 3 * SECOND  # than the job that is resumed: some of it is done by then


class Verdict(Enum):
    """How a run ended; the value is the process's exit code."""

    HELD = 0
    CRASH = 3
    NO_CONVERGENCE = 4
    INVARIANT_BROKEN = 5


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run. `checker` says who found the fault: the name of a checker, or of the
    exception that a crash is. `exercised` counts faults by kind, messages by fate, and jobs that
    used more than their budget. What `events` and `steps` are says `World`."""

    seed: int
    plan: Plan
    verdict: Verdict
    checker: str
    detail: str
    virtual_s: float
    steps: int
    events: int
    exercised: tuple[tuple[str, int], ...]
    trace_digest: str
    trace: tuple[str, ...]

    def summary(self) -> str:
        """One line for people; a failed one says how to repeat it."""
        line = (
            f"seed {self.seed}: {self.verdict.name.lower()} after {self.virtual_s:.1f} virtual s, "
            f"{self.events} events, {self.steps} steps, trace {self.trace_digest[:16]}"
        )
        if self.verdict is Verdict.HELD:
            return line
        repeat = f"{self.plan.command} --trace"
        return f"{line}\n  {self.detail}\n  plan: {self.plan}\n  repeat: {repeat}"


class Run:
    """One plan being carried out. `peer` may be a broken one, to see who notices; `watchers` see
    everything; more than `steps_max` steps are a storm, and a crash."""

    def __init__(
        self,
        plan: Plan,
        peer: type[Peer] | None = None,
        watchers: tuple[Watcher, ...] = (),
        steps_max: int = STEPS_MAX,
    ) -> None:
        self.plan = plan
        seed = plan.seed
        self.random = Random(f"{seed}/schedule")
        network = Network(Random(f"{seed}/network"))
        network.set(plan.links)
        self.agents = SimulatedAgents(Random(f"{seed}/agents"), plan.work)
        self.liar = SimulatedAgents(Random(f"{seed}/liar"), plan.work, lies=True)
        always = replace(plan.work, agent_failures=1.0)
        self.bad = SimulatedAgents(Random(f"{seed}/bad"), always)
        config = config_of(plan.knobs, plan.work.slots)
        self.world = World(
            seed, config, network, self.agents, plan.clocks, peer, plan.real_signatures
        )
        self.world.steps_max = steps_max
        self.checkers = Checkers()
        self.world.watch(self.checkers, *watchers)
        self.clients = clients_of(self.world, self.random, plan.work)
        self.writers = register_clients(self.world, plan.registers, plan.end_ns)
        note = self.checkers.store.see_wish
        self.sharers = sharers(self.world, plan.sharing, plan.end_ns, seed, note)
        self.injection = Injection(self.world, plan)

    def execute(self) -> Outcome:
        """Run it to its verdict."""
        verdict, checker, detail = Verdict.HELD, "", ""
        try:
            stuck = self._phases()
            if stuck:
                verdict, checker, detail = Verdict.NO_CONVERGENCE, "convergence", stuck
        except InvariantBroken as broken:
            verdict, checker, detail = Verdict.INVARIANT_BROKEN, broken.checker, str(broken)
        except Exception as fault:  # whatever it is, the seed is the bug report
            verdict, checker = Verdict.CRASH, type(fault).__name__
            detail = traceback.format_exc()
        world = self.world
        counts = {fate.value: world.fates[fate] for fate in Fate if world.fates[fate]}
        counts.update(self.injection.done)
        counts["register operations"] = sum(len(writer.history) for writer in self.writers)
        if self.checkers.registers.undecided:
            counts["undecided history"] = self.checkers.registers.undecided
        return Outcome(
            self.plan.seed,
            self.plan,
            verdict,
            checker,
            detail,
            world.now / SECOND,
            world.steps,
            world.events,
            tuple(sorted(counts.items())),
            world.trace_digest(),
            tuple(world.trace),
        )

    def _phases(self) -> str:
        """All of the run: what does not converge, or nothing."""
        plan, world = self.plan, self.world
        seeds = tuple(range(min(SEEDS_GIVEN, plan.nodes)))
        for number in range(plan.nodes):
            host = world.add_host(number == 0, plan.nodes, seeds)
            host.disk_delay_ns = plan.disk_ns
            if plan.work.liar and number == plan.nodes - 1:
                host.agents = self.liar
            if plan.work.bad and number == 0:
                host.agents = self.bad
            world.at(self.random.randrange(SECOND // 2), host.start)
        self.injection.schedule()
        if plan.work.outage_ns:
            world.at(OUTAGE_FROM, self._set_away, True)
            world.at(OUTAGE_FROM + plan.work.outage_ns, self._set_away, False)
        for client in self.clients:
            later = RESUMED_AFTER if client.job.resumes else 0
            world.at(FAULTS_FROM + self.random.randrange(SECOND) + later, client.ask)
        for number, sharer in enumerate(self.sharers, 1):
            world.at(FAULTS_FROM + number * SECOND // 4, sharer.begin)
        for writer in self.writers:
            world.at(FAULTS_FROM + self.random.randrange(SECOND), writer.begin)
        world.run(plan.end_ns)
        self.checkers.check_logs(world.hosts)
        self.agents.is_calm = self.liar.is_calm = self.bad.is_calm = True
        if self.injection.heal_core():
            self._set_out(self.injection.core)
            if not world.run(world.now + self._patience(), self._has_core_converged):
                return f"core: {self._state()}"
            self._check_end(self._core())
        self.injection.heal_all()
        self._set_out(None)
        if not world.run(world.now + self._patience(), self._has_converged):
            return f"all: {self._state()}"
        self._check_end(self._core())
        self.checkers.check_kept(self._core(), self.clients)
        history = [operation for writer in self.writers for operation in writer.history]
        self.checkers.registers.check(history)
        return ""

    def _patience(self) -> Nanoseconds:
        """Within which all must be done. The core may be one node whose agents always fail or lie:
        it uses up all attempts, one after another."""
        tasks = (task for client in self.clients for task in client.job.tasks)
        attempts = sum(task.attempts_max * task.quorum.of for task in tasks)
        is_misled = self.plan.work.bad or self.plan.work.liar
        return LIVENESS_MAX + (attempts * SECOND if is_misled else 0)

    def _set_away(self, is_away: bool) -> None:
        """The model of all agents goes away, or is back."""
        for agents in (self.agents, self.liar, self.bad):
            agents.is_away = is_away

    def _set_out(self, knows: set[int] | None) -> None:
        """Clients look for nodes that work."""
        for client in self.clients:
            client.knows = knows

    def _core(self) -> list[Host]:
        return [host for host in self.world.hosts if host.number in self.injection.core]

    def _check_end(self, hosts: list[Host]) -> None:
        self.checkers.check_logs(hosts)
        self.checkers.check_stores(hosts)
        self.checkers.registers.look(hosts)
        for client in self.clients:
            self.checkers.check_answer(hosts, client.job, client.answer)

    def _has_core_converged(self) -> bool:
        self.injection.extend_core()
        return self._agree(self._core())

    def _has_converged(self) -> bool:
        core = self._core()
        return self._agree(core) and all(
            host.peer is not None and len(host.peer.membership.alive()) == len(core) - 1
            for host in core
        )

    def _agree(self, hosts: list[Host]) -> bool:
        """Whether these nodes see each other, have finished all jobs, and are in one state."""
        peers = [host.peer for host in hosts if host.peer]
        if len(peers) < len(hosts) or any(client.answer is None for client in self.clients):
            return False
        first = peers[0]
        if first.ledger.applied < self.checkers.agreement.last_committed:
            return False  # somebody has seen more, and crashed since
        outcomes = [(job, state.outcome) for job, state in first.ledger.jobs.items()]
        if len(outcomes) < self.plan.work.jobs:
            return False
        # A node alone has nobody who could check its results as well.
        lonely = len(hosts) == 1 and self.plan.work.verify_by is VerifyBy.OTHER
        if not lonely and not all(outcome for _, outcome in outcomes):
            return False
        nodes = {peer.node for peer in peers}
        # Whoever is late hears what counts, unless all are and the one that may know is gone.
        somebody_knows = not all(peer.gossip.returning.is_late for peer in peers) or all(
            nodes.issuperset(peer.outlook.awaited(host.own_time))
            for host, peer in zip(hosts, peers, strict=True)
        )
        return all(
            [(job, state.outcome) for job, state in peer.ledger.jobs.items()] == outcomes
            and peer.ledger.applied == first.ledger.applied
            and peer.store.fingerprint() == first.store.fingerprint()
            and not (peer.gossip.returning.is_late and somebody_knows)
            and nodes <= {peer.node, *peer.membership.alive()}
            for peer in peers
        )

    def _state(self) -> str:
        answers = [client.answer for client in self.clients]
        peers = "; ".join(f"n{host.number} {host.peer!r}" for host in self.world.hosts)
        return f"core={sorted(self.injection.core)} answers={answers}; {peers}"


def simulate(
    seed: int,
    nodes: int | None = None,
    plan: Plan | None = None,
    peer: type[Peer] | None = None,
    watchers: tuple[Watcher, ...] = (),
    steps_max: int = STEPS_MAX,
) -> Outcome:
    """Run one seed, or a plan of it that was made smaller."""
    return Run(plan or plan_of(seed, nodes), peer, watchers, steps_max).execute()


__all__ = ["Host", "Outcome", "Run", "Verdict", "simulate"]
