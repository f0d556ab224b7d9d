"""Carries out a plan's faults in a world, and heals again: first a core, then everybody.

What no protocol could survive is not done: a node whose loss for good would leave some
configuration without a quorum is spared, and the trace says so. Whatever was done is counted by
kind, so that a swarm can tell what it has exercised.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from random import Random
from typing import assert_never

from protocol.clocks import MILLISECOND, SECOND, Nanoseconds
from protocol.configuration import Configuration
from protocol.events import Leaving, Transferred
from protocol.identity import NOBODY
from protocol.raft.log import RaftLog
from protocol.sim.disk import Rot
from protocol.sim.faults import (
    BitRot,
    Crash,
    CrashAfter,
    Cut,
    Die,
    DiskFull,
    DiskHang,
    Fault,
    Flap,
    Garble,
    IsolateLeader,
    Join,
    Leave,
    LoseOne,
    MinimalQuorum,
    Pause,
    Restart,
    Slow,
    Storm,
    TimedFault,
    Transfer,
    WriteError,
    kind_of,
    links_of,
)
from protocol.sim.network import LinkConditions
from protocol.sim.plan import SEEDS_GIVEN, Plan, Rest
from protocol.sim.world import Host, World

RETIRE_MAX_NS: Nanoseconds = SECOND  # after which what does not stop is killed
GOODBYE_NS: Nanoseconds = 4 * SECOND  # in which a node that leaves has gone, and said so
HEALED_DELAY_NS: Nanoseconds = MILLISECOND


class Injection:
    """See the module's text. After `is_over` no fault happens any more."""

    def __init__(self, world: World, plan: Plan) -> None:
        self.world = world
        self.plan = plan
        self.random = Random(f"{plan.seed}/injection")
        self.done: Counter[str] = Counter()
        self.is_over = False
        self.core: set[int] = set()

    def schedule(self) -> None:
        """Put all faults into the world's heap."""
        for fault in self.plan.faults:
            self.world.at(fault.at_ns, self._happen, fault)

    # -- faults ------------------------------------------------------------------------------------

    def _happen(self, fault: TimedFault) -> None:
        if self.is_over:
            return
        self.world.note_fault(str(fault))
        match fault:
            case Join():
                self._join(fault)
            case Cut():
                self._block(fault)
            case Flap():
                self._flap(fault, True)
            case Storm():
                self._storm(fault)
            case MinimalQuorum() | IsolateLeader():
                self._cut_off_leader(fault)
            case _:
                if fault.node < self.plan.nodes:  # else a smaller team was asked for
                    self._happen_to(self.world.hosts[fault.node], fault)

    def _happen_to(
        self,
        host: Host,
        fault: Crash
        | CrashAfter
        | Restart
        | Die
        | Leave
        | Transfer
        | Pause
        | Slow
        | Garble
        | DiskHang
        | DiskFull
        | WriteError
        | BitRot
        | LoseOne,
    ) -> None:
        if host.is_gone or (not host.is_up and not isinstance(fault, BitRot | DiskFull | DiskHang)):
            return
        match fault:
            case Crash():
                self._crash(host, fault)
            case Restart():
                self._restart(host, fault)
            case Die():
                self._lose(host, fault, partial(self._die, host))
            case Transfer():
                host.submit(Transferred(0, NOBODY))
                self._count(fault)
            case Leave():
                self._lose(host, fault, partial(host.submit, Leaving()))
            case Pause():
                host.pause()
                self._until(fault.until_ns, fault, host.resume)
            case Slow():
                host.slow_down(fault.step_ns)
                self._until(fault.until_ns, fault, partial(host.slow_down, 0))
            case Garble():
                host.is_garbling = True
                self._until(fault.until_ns, fault, host.speak_clearly)
            case DiskHang():
                host.drive.hang()
                self._until(fault.until_ns, fault, host.drive.recover)
            case DiskFull():
                host.drive.is_full = True
                self._until(fault.until_ns, fault, host.drive.recover)
            case WriteError():
                host.drive.fails_next = True
                self._count(fault)
            case BitRot():
                if fault.what is Rot.LOG and not self._may_lose(host):
                    self.world.note_fault(f"#{fault.number} is spared")
                    return
                host.disk.decay(fault.what, host.identity.node, self.random)
                self._count(fault)
            case LoseOne():
                host.loses_next = fault.message
                self._count(fault)
            case CrashAfter():
                host.crashes_after, host.back_ns = fault.message, fault.back_ns
                self._count(fault)
            case _ as never:
                assert_never(never)

    def _count(self, fault: Fault) -> None:
        self.done[kind_of(fault)] += 1

    def _until(self, until: Nanoseconds, fault: Fault, end: object) -> None:
        """Count it, and let it end in time unless everything is healed before."""
        assert callable(end)
        self._count(fault)
        self.world.at(max(until, self.world.now), self._end, end)

    def _end(self, end: object) -> None:
        assert callable(end)
        if not self.is_over:
            end()

    def _crash(self, host: Host, fault: Crash) -> None:
        self._count(fault)
        if fault.effects:
            host.fuse = fault.effects
            return
        host.crash(silent=fault.power, in_flight=fault.in_flight)
        self.world.at(max(fault.until_ns, self.world.now), host.start_again)

    def _restart(self, host: Host, fault: Restart) -> None:
        self._count(fault)
        host.retire()
        self.world.after(RETIRE_MAX_NS, self._end, host.end_retirement)
        back = max(fault.until_ns, self.world.now + RETIRE_MAX_NS)
        self.world.at(back, self._end, host.start_again)

    def _lose(self, host: Host, fault: Die | Leave, how: object) -> None:
        assert callable(how)
        if not self._may_lose(host):
            self.world.note_fault(f"#{fault.number} is spared")
            return
        self._count(fault)
        host.is_gone = True
        how()
        if isinstance(fault, Leave):
            self.world.after(GOODBYE_NS, self._go, host)

    @staticmethod
    def _die(host: Host) -> None:
        if host.is_up:
            host.crash("died", silent=True)

    @staticmethod
    def _go(host: Host) -> None:
        if host.is_up:
            host.crash("left")

    def _join(self, fault: Join) -> None:
        self._count(fault)
        living = [host.number for host in self.world.hosts if not host.is_gone]
        seeds = tuple(living[:SEEDS_GIVEN])
        host = self.world.add_host(found=False, expected=1, seeds=seeds)
        host.disk_delay_ns = self.plan.disk_ns
        host.start()

    def _block(self, fault: Cut) -> None:
        network, name = self.world.network, f"#{fault.number}"
        network.block(name, links_of(fault.shape, fault.order, fault.size))
        self._until(fault.until_ns, fault, partial(network.unblock, name))

    def _flap(self, fault: Flap, is_first: bool = False) -> None:
        if self.is_over:
            return
        network, name, now = self.world.network, f"#{fault.number}", self.world.now
        if is_first:
            self._count(fault)
        if now < fault.until_ns and name not in network.cuts:
            network.block(name, links_of(fault.shape, fault.order, fault.size))
        else:
            network.unblock(name)
        if now < fault.until_ns:
            self.world.after(fault.period_ns // 2, self._flap, fault)

    def _storm(self, fault: Storm) -> None:
        network, links = self.world.network, self.plan.links
        network.loss = max(links.loss, fault.loss)
        network.duplication = max(links.duplication, fault.duplication)
        network.corruption = max(links.corruption, fault.corruption)
        network.delay_mean_ns = links.delay_mean_ns * fault.slower
        self._until(fault.until_ns, fault, partial(network.set, links))

    def _cut_off_leader(self, fault: MinimalQuorum | IsolateLeader) -> None:
        """Whoever leads is alone from now on, or goes on to reach a bare majority of the voters:
        what it commits then lies on no disk more than it must."""
        leaders = [host for host in self.world.hosts if _leads(host)]
        if not leaders:
            return
        leader = self.random.choice(leaders)
        others = [host for host in self.world.hosts if host is not leader]
        links = [(leader.number, host.number) for host in others]
        if isinstance(fault, MinimalQuorum):
            voters = configuration_of(leader).members
            kept = [host for host in others if host.identity.node in voters]
            kept = self.random.sample(kept, min(len(kept), len(voters) // 2))
            links = [(leader.number, host.number) for host in others if host not in kept]
        else:
            links += [(other, host) for host, other in links]
        name = f"#{fault.number}"
        self.world.network.block(name, links)
        self._until(fault.until_ns, fault, partial(self.world.network.unblock, name))

    # -- what the team can bear ----------------------------------------------------------------

    def _may_lose(self, host: Host) -> bool:
        left = [other for other in self.world.hosts if not other.is_gone and other is not host]
        sound = [other for other in left if not other.disk.impaired]
        return (
            bool(left)
            and _can_decide(sound, [*left, host])
            and all(_finds_somebody(other, left) for other in left)
        )

    def heal_core(self) -> bool:
        """End all faults, and mend a core: nodes enough for a quorum of every configuration. The
        rest is left in a bad state. False if all are in the core."""
        self.is_over = True
        self._calm_down()
        living = [host for host in self.world.hosts if not host.is_gone]
        order = self.random.sample(living, len(living))
        self.core = {host.number for host in living} if self.plan.rest is Rest.HEALED else set()
        self.extend_core(order)
        rest = [host for host in living if host.number not in self.core]
        for host in rest:
            self._leave_broken(host)
        self.world.note_fault(f"healed: core={sorted(self.core)} rest={self.plan.rest.value}")
        return bool(rest)

    def extend_core(self, order: list[Host] | None = None) -> bool:
        """Add nodes until the core is a majority of the voters by every configuration that one of
        it knows, for the council may have grown meanwhile, and until its nodes can find each other.
        Whether any was added."""
        hosts = self.world.hosts
        before = len(self.core)
        for host in order or [host for host in hosts if not host.is_gone]:
            inside = [other for other in hosts if other.number in self.core]
            sound = [other for other in inside if not other.disk.impaired]
            if inside and _can_decide(sound, inside) and _can_meet(inside):
                break
            self.core.add(host.number)
        for number in sorted(self.core):
            self._mend(hosts[number])
        return len(self.core) > before

    def heal_all(self) -> None:
        """Everything works again."""
        self.world.network.heal()
        for host in self.world.hosts:
            if not host.is_gone:
                self.core.add(host.number)
                self._mend(host)
        self.world.note_fault("healed: all")

    def _calm_down(self) -> None:
        network = self.world.network
        network.heal()
        network.set(LinkConditions(delay_mean_ns=HEALED_DELAY_NS))
        for host in self.world.hosts:
            if host.is_gone and host.is_up:
                self._go(host)

    def _mend(self, host: Host) -> None:
        self.world.network.unblock(f"rest {host.number}")
        host.drive.recover()
        host.disk_delay_ns = MILLISECOND // 2
        host.fuse = 0
        host.speak_clearly()
        host.loses_next = host.crashes_after = ""
        host.resume()
        host.slow_down(0)
        host.end_retirement()
        host.start_again()

    def _leave_broken(self, host: Host) -> None:
        others = [other.number for other in self.world.hosts if other is not host]
        out = [(host.number, other) for other in others]
        into = [(other, host.number) for other in others]
        name, rest = f"rest {host.number}", self.plan.rest
        host.end_retirement()
        if rest is Rest.DOWN and host.is_up:
            host.crash("down", silent=self.random.random() < 0.5)
        elif rest is Rest.ISOLATED:
            self.world.network.block(name, [*out, *into])
        elif rest is Rest.DEAF:
            self.world.network.block(name, into)
        elif rest is Rest.MUTE:
            self.world.network.block(name, out)


def _can_meet(hosts: list[Host]) -> bool:
    """Whether no two parts of them are strangers: nobody in one has heard of the other, or has an
    address of it."""
    met, waiting = {hosts[0].number}, [hosts[0]]
    while waiting:
        one = waiting.pop()
        for other in hosts:
            if other.number not in met and (_knows(one, other) or _knows(other, one)):
                met.add(other.number)
                waiting.append(other)
    return len(met) == len(hosts)


def _knows(one: Host, other: Host) -> bool:
    return other.number in one.seeds or other.identity.node in one.disk.members


def _leads(host: Host) -> bool:
    return host.peer is not None and host.peer.status().role == "leader"


def configuration_of(host: Host) -> Configuration:
    """The latest configuration in a host's log, whether it is up or not."""
    if host.peer is not None:
        return host.peer.raft.log.configuration
    return RaftLog(host.disk.entries, host.disk.snapshot).configuration


def _finds_somebody(host: Host, left: list[Host]) -> bool:
    """Whether a node knows the address of one that is left: it was given it, or has met it."""
    others = [other for other in left if other is not host]
    met = host.disk.members
    return not others or any(
        other.number in host.seeds or other.identity.node in met for other in others
    )


def _can_decide(who: list[Host], according_to: list[Host]) -> bool:
    """Whether these nodes hold a quorum of every configuration that somebody knows of. Where nobody
    knows of any, there is nobody to decide anything."""
    nodes = {host.identity.node for host in who}
    known = [configuration_of(host) for host in according_to]
    known = [configuration for configuration in known if configuration.voters]
    return bool(known) and all(configuration.has_quorum(nodes) for configuration in known)
