"""Clients at the registers of a simulated team: what they asked for, and what they were told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from small_world import SmallWorld

from protocol import config as presets
from protocol.clocks import SECOND, Nanoseconds
from protocol.config import Config
from protocol.effects import ReadAnswered, Refused, Results
from protocol.events import Commanded, Consistency, ReadAsked
from protocol.peer import Peer
from protocol.registers import Command, Verb
from protocol.sim.watch import Watcher
from protocol.sim.world import Host


def put(key: str, value: bytes = b"x") -> Command:
    return Command(Verb.PUT, key, value)


def compacting(entries: int = 20, trailing: int = 5, part: int = 300) -> Config:
    """A team that takes a snapshot every few entries, and sends it in small parts."""
    base = presets.local()
    raft = replace(
        base.raft,
        compact_entries=entries,
        trailing_entries=trailing,
        snapshot_part_size=part,
        caught_up_entries=5,
    )
    return replace(base, raft=raft)


def peer_of(host: Host) -> Peer:
    assert host.peer is not None
    return host.peer


def are_alike(hosts: Iterable[Host]) -> bool:
    """Whether all have applied the same, and have come to the same."""
    states = [peer_of(host).consensus.replicated for host in hosts]
    if len({state.applied for state in states}) > 1:
        return False
    assert len({state.registers.image() for state in states}) == 1
    assert len({repr(sorted(state.ledger.jobs.items())) for state in states}) == 1
    return True


@dataclass(eq=False)
class Clients(Watcher):
    """One at each node. `told` has, for each host and request, what it was answered."""

    small: SmallWorld
    answers: dict[int, list[Results | ReadAnswered | Refused]] = field(default_factory=dict)
    written: dict[int, int] = field(default_factory=dict)  # host -> last number
    asked: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.small.world.watch(self)

    def see_answer(
        self, at: Nanoseconds, host: Host, answer: Results | ReadAnswered | Refused
    ) -> None:
        self.answers.setdefault(host.number, []).append(answer)

    def write(self, host: Host, *commands: Command) -> int:
        """Ask for these: the number of the last."""
        first = self.written.get(host.number, 0) + 1
        self.written[host.number] = first + len(commands) - 1
        host.submit(Commanded(first, commands))
        return self.written[host.number]

    def read(
        self, host: Host, key: str, consistency: Consistency = Consistency.LINEARIZABLE
    ) -> int:
        """Ask for a value: the number of the read."""
        number = self.asked[host.number] = self.asked.get(host.number, 0) + 1
        host.submit(ReadAsked(number, key, consistency))
        return number

    def told(self, host: Host) -> dict[int, int | str]:
        """The results of writes at the host, and the errors; nothing was told twice."""
        found: dict[int, int | str] = {}
        for answer in self.answers.get(host.number, ()):
            if isinstance(answer, Results):
                pairs: list[tuple[int, int | str]] = list(
                    enumerate(answer.results, start=answer.first)
                )
            elif isinstance(answer, Refused) and answer.is_command:
                pairs = [(answer.first + at, answer.error) for at in range(answer.count)]
            else:
                continue
            for request, result in pairs:
                assert request not in found, "a client is answered once"
                found[request] = result
        return found

    def values(self, host: Host) -> dict[int, bytes | str | None]:
        """What reads at the host were answered."""
        found: dict[int, bytes | str | None] = {}
        for answer in self.answers.get(host.number, ()):
            if isinstance(answer, ReadAnswered):
                assert answer.request not in found, "a client is answered once"
                found[answer.request] = answer.value.value if answer.value else None
            elif isinstance(answer, Refused) and not answer.is_command:
                assert answer.first not in found, "a client is answered once"
                found[answer.first] = answer.error
        return found

    def do(
        self, host: Host, *commands: Command, within: Nanoseconds = 15 * SECOND
    ) -> list[int | str]:
        """Write and wait for all the answers."""
        last = self.write(host, *commands)
        assert self.small.run(within, lambda: last in self.told(host)), "no answer"
        told = self.told(host)
        return [told[request] for request in range(last - len(commands) + 1, last + 1)]

    def get(
        self, host: Host, key: str, consistency: Consistency = Consistency.LINEARIZABLE
    ) -> bytes | str | None:
        """Read and wait for the answer."""
        number = self.read(host, key, consistency)
        assert self.small.run(15 * SECOND, lambda: number in self.values(host)), "no answer"
        return self.values(host)[number]
