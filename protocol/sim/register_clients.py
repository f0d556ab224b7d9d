"""Clients of the registers: each does one thing after the other, at any node, and remembers when it
asked, what it was told, and what it does not know. The memories together are a history that has to
be linearizable.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import TypeAlias

from protocol.clocks import MILLISECOND, SECOND, Nanoseconds
from protocol.effects import ReadAnswered, Refused, Results
from protocol.events import Commanded, Consistency, ReadAsked
from protocol.registers import Command, Refusal, Verb, Versioned
from protocol.sim.host import Host
from protocol.sim.linearizable import Kind, Operation, Outcome
from protocol.sim.watch import Watcher
from protocol.sim.world import World

PATIENCE_NS: Nanoseconds = (
    15 * SECOND
)  # beyond what a clerk waits: then its node is not what it was
DEFINITE = ("Busy", "NoLeader")
Answer: TypeAlias = int | Versioned | str | None  # a revision, what was read, or an error


@dataclass(frozen=True, slots=True)
class RegisterOptions:
    """How many clients, how many registers they share, and how long they think between two
    operations on average."""

    clients: int
    keys: int
    think_ns: Nanoseconds

    def __str__(self) -> str:
        return f"clients={self.clients} keys={self.keys} think={self.think_ns / MILLISECOND:g}ms"


NO_REGISTERS = RegisterOptions(0, 1, SECOND)


def draw_registers(random: Random) -> RegisterOptions:
    """None in a third of the seeds."""
    return RegisterOptions(
        clients=random.choice((0, 0, 1, 2, 3, 5)),
        keys=random.choice((1, 1, 2, 3)),
        think_ns=random.choice((50, 300, 1_000)) * MILLISECOND,
    )


class Switchboard(Watcher):
    """Carries the questions of all clients to hosts, and the answers back. Numbers are never used
    twice, so an answer to an earlier life's question reaches nobody wrong."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._waiting: dict[tuple[bool, int], Callable[[Answer], None]] = {}

    def ask(self, host: Host, command: Command, told: Callable[[Answer], None]) -> None:
        """Write, through this host."""
        number = next(self._numbers)
        self._waiting[True, number] = told
        host.submit(Commanded(number, (command,)))

    def read(
        self, host: Host, key: str, consistency: Consistency, told: Callable[[Answer], None]
    ) -> None:
        """Read, at this host."""
        number = next(self._numbers)
        self._waiting[False, number] = told
        host.submit(ReadAsked(number, key, consistency))

    def see_answer(
        self, at: Nanoseconds, host: Host, answer: Results | ReadAnswered | Refused
    ) -> None:
        match answer:
            case Results():
                for number, revision in enumerate(answer.results, answer.first):
                    self._tell(True, number, revision)
            case ReadAnswered():
                self._tell(False, answer.request, answer.value)
            case Refused():
                for number in range(answer.first, answer.first + answer.count):
                    self._tell(answer.is_command, number, answer.error)

    def _tell(self, is_command: bool, number: int, answer: Answer) -> None:
        told = self._waiting.pop((is_command, number), None)
        if told is not None:
            told(answer)


class RegisterClient:
    """One process of the history. `until` it begins new operations."""

    def __init__(
        self,
        world: World,
        number: int,
        options: RegisterOptions,
        switchboard: Switchboard,
        until: Nanoseconds,
    ) -> None:
        self.world = world
        self.number = number
        self.options = options
        self.switchboard = switchboard
        self.until = until
        self.ended: list[Operation] = []
        self._open: Operation | None = None
        self.random = Random(f"{world.seed}/register client {number}")
        self._written = count(1)
        self._turn = 0  # answers to an earlier turn come too late
        self._process = number
        self._known: dict[str, bytes | None] = {}

    @property
    def history(self) -> list[Operation]:
        """All operations; of the last one it may not be known yet whether it happened."""
        return [*self.ended, self._open] if self._open else self.ended

    def begin(self) -> None:
        """Do the next thing, at a node that is up."""
        if self.world.now >= self.until:
            return
        hosts = [host for host in self.world.hosts if host.is_up and not host.is_gone]
        if not hosts:
            self._think()
            return
        self._turn += 1
        host = self.random.choice(hosts)
        key = f"r{self.random.randrange(self.options.keys)}"
        draw = self.random.random()
        if draw < 0.4:
            self._read(host, key)
        elif draw < 0.75:
            self._do(host, key, Kind.WRITE, self._fresh())
        elif draw < 0.95:
            self._do(host, key, Kind.CAS, (self._known.get(key), self._fresh()))
        else:
            self._do(host, key, Kind.DELETE, None)

    def _fresh(self) -> bytes:
        """A value that nobody writes a second time."""
        return b"%d-%d" % (self.number, next(self._written))

    def _think(self) -> None:
        pause = int(self.random.expovariate(1.0) * self.options.think_ns) + 1
        self.world.after(pause, self.begin)

    def _read(self, host: Host, key: str) -> None:
        lease = self.random.random() < 0.4
        consistency = Consistency.LEASE if lease else Consistency.LINEARIZABLE
        told = self._waiter(key, Kind.READ, None)
        self.switchboard.read(host, key, consistency, told)

    def _do(
        self, host: Host, key: str, kind: Kind, argument: bytes | tuple[bytes | None, bytes] | None
    ) -> None:
        told = self._waiter(key, kind, argument)
        if kind is Kind.CAS:
            assert isinstance(argument, tuple)
            command = Command(Verb.CAS, key, argument[1], argument[0])
        elif kind is Kind.WRITE:
            assert isinstance(argument, bytes)
            command = Command(Verb.PUT, key, argument)
        else:
            command = Command(Verb.DELETE, key)
        self.switchboard.ask(host, command, told)

    def _waiter(
        self, key: str, kind: Kind, argument: bytes | tuple[bytes | None, bytes] | None
    ) -> Callable[[Answer], None]:
        """What takes the answer of the operation that begins now, or its absence."""
        turn, called = self._turn, self.world.now
        self._open = Operation(
            self._process, kind, key, argument, None, called, None, Outcome.UNKNOWN
        )

        def told(answer: Answer) -> None:
            if turn != self._turn:
                return  # it was given up already
            self._turn += 1
            self._note(key, kind, argument, called, answer)
            self._think()

        def silence() -> None:
            if turn == self._turn:
                told("TimedOut")

        self.world.after(PATIENCE_NS, silence)
        return told

    def _note(
        self,
        key: str,
        kind: Kind,
        argument: bytes | tuple[bytes | None, bytes] | None,
        called: Nanoseconds,
        answer: Answer,
    ) -> None:
        now: Nanoseconds | None = self.world.now
        result: bytes | bool | None = None
        outcome = Outcome.OK
        if isinstance(answer, str):
            outcome = Outcome.FAILED if answer in DEFINITE else Outcome.UNKNOWN
            now = now if outcome is Outcome.FAILED else None
        elif kind is Kind.READ:
            assert not isinstance(answer, int)
            result = self._known[key] = answer.value if answer else None
        elif kind is Kind.CAS:
            assert isinstance(answer, int)
            result = answer > Refusal.UNEQUAL
        self._open = None
        self.ended.append(
            Operation(self._process, kind, key, argument, result, called, now, outcome)
        )
        if outcome is Outcome.UNKNOWN:
            self._process += 1_000  # one that does not know its fate does nothing more


def register_clients(
    world: World, options: RegisterOptions, until: Nanoseconds
) -> list[RegisterClient]:
    """The clients of a run, listening to all hosts."""
    switchboard = Switchboard()
    world.watch(switchboard)
    return [
        RegisterClient(world, number, options, switchboard, until)
        for number in range(options.clients)
    ]
