"""A simulated team with scripted agents, and a diary of every fact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import TypeVar

from protocol import config as presets
from protocol.clocks import MILLISECOND, SECOND, Nanoseconds
from protocol.config import Config
from protocol.effects import Assignment
from protocol.events import AgentFailed, Completed, Failure, Submitted
from protocol.facts import Fact
from protocol.jobs import NO_USAGE, File, Job, Usage
from protocol.sim.checkers import Checkers
from protocol.sim.network import Network
from protocol.sim.watch import Watcher
from protocol.sim.world import AgentModel, Host, World

Script = Callable[[Assignment], tuple[Nanoseconds, Completed | AgentFailed]]
F = TypeVar("F", bound=Fact)

EAGER = replace(presets.local(), team=replace(presets.local().team, patience_ns=0, yield_ns=0))
REQUEST = 1


def done(
    assignment: Assignment, after: Nanoseconds = SECOND // 2, usage: Usage = NO_USAGE
) -> tuple[Nanoseconds, Completed]:
    """The agent writes what was asked for."""
    files = tuple(File(path, assignment.task.id.encode()) for path in assignment.task.writes)
    return after, Completed(0, files, "done", usage)


def failed(reason: Failure = Failure.VERIFY) -> tuple[Nanoseconds, AgentFailed]:
    """The agent does not succeed."""
    return SECOND // 10, AgentFailed(0, reason, "it did not work", (), NO_USAGE)


@dataclass
class Scripted(AgentModel):
    """Agents that do what the script says; what they were given is kept."""

    script: Script = done
    given: list[Assignment] = field(default_factory=list)

    def perform(self, assignment: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
        self.given.append(assignment)
        return self.script(assignment)


@dataclass
class Diary(Watcher):
    """Every fact, when and where."""

    pages: list[tuple[Nanoseconds, int, Fact]] = field(default_factory=list)

    def see(self, at: Nanoseconds, host: Host, fact: Fact) -> None:
        self.pages.append((at, host.number, fact))

    def of(self, kind: type[F]) -> list[tuple[Nanoseconds, int, F]]:
        return [(at, number, fact) for at, number, fact in self.pages if isinstance(fact, kind)]


class SmallWorld:
    """`size` nodes that found each other and a leader, ready for a job."""

    def __init__(
        self, size: int, script: Script = done, config: Config | None = None, seed: int = 1
    ) -> None:
        self.agents = Scripted(script)
        network = Network(Random(f"{seed}/network"), delay_mean_ns=MILLISECOND)
        self.world = World(seed, config or presets.local(), network, self.agents)
        self.checkers = Checkers()
        self.diary = Diary()
        self.world.watch(self.checkers, self.diary)
        for number in range(size):
            host = self.world.add_host(found=number == 0, expected=size)
            host.start()
        assert self.world.run(20 * SECOND, self._is_settled), "the team does not come together"

    def _is_settled(self) -> bool:
        voters = min(len(self.hosts), 5)
        voters -= 1 - voters % 2
        return self.leader() is not None and all(
            host.peer is not None
            and len(host.peer.membership.alive()) == len(self.hosts) - 1
            and len(host.peer.status().voters) == voters
            and not host.peer.status().outgoing
            and host.peer.raft.commit == self.hosts[0].peer.raft.commit  # type: ignore[union-attr]
            for host in self.hosts
        )

    @property
    def hosts(self) -> list[Host]:
        return self.world.hosts

    @property
    def up(self) -> list[Host]:
        return [host for host in self.hosts if host.is_up]

    def leader(self) -> Host | None:
        """The host that leads the highest term, if any does."""
        leading = [h for h in self.up if h.peer and h.peer.status().role == "leader"]
        return max(leading, key=lambda h: h.peer.raft.term if h.peer else 0, default=None)

    def submit(self, job: Job, at: int = 0) -> None:
        self.hosts[at].submit(Submitted(REQUEST, job))

    def run(self, duration: Nanoseconds, until: Callable[[], bool] | None = None) -> bool:
        """Let time go by; whether `until` came true."""
        return self.world.run(self.world.now + duration, until)

    def is_finished(self, name: str = "job") -> bool:
        """Whether every node that is up knows the same end of the job."""
        states = [host.peer.ledger.jobs.get(name) for host in self.up if host.peer]
        return all(state is not None and state.is_finished for state in states)

    def do(self, job: Job, within: Nanoseconds = 120 * SECOND) -> None:
        """Submit and run to the job's end."""
        self.submit(job)
        assert self.run(within, lambda: self.is_finished(job.id)), "the job does not end"
