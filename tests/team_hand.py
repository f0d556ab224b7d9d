"""One node's team machine, driven by hand: the test is its log, its store and its clock."""

from __future__ import annotations

from random import Random

from ledger_hand import job

from protocol.clocks import Nanoseconds
from protocol.config import TeamConfig
from protocol.effects import Invoke, Reply
from protocol.events import Completed
from protocol.identity import Identity
from protocol.jobs import File, Usage
from protocol.ledger import Ledger
from protocol.messages.agreement import EntryKind, LogEntry
from protocol.store import Store
from protocol.team import Team, View
from protocol.turn import Turn

CONFIG = TeamConfig()
SELF = Identity(b"t" * 32)


class Desk:
    """See the module's text."""

    def __init__(self, config: TeamConfig = CONFIG) -> None:
        self.now: Nanoseconds = 0
        self.ledger = Ledger()
        self.store = Store(SELF, "team", 10_000)
        self.config = config
        self.team = Team(SELF.node, config, self.ledger, self.store, Random(1))
        self.view = View(frozenset({SELF.node}), frozenset(), SELF.node)
        self.is_overloaded = False  # writes wait, as gossip lets them in an overloaded team

    def restart(self) -> Turn:
        """The process dies and comes back with what is in its store and its log."""
        self.team = Team(SELF.node, self.config, self.ledger, self.store, Random(1))
        self.team.restore(self.now)
        return self.settle(self.turn())

    def turn(self) -> Turn:
        return Turn(self.now, self.now, 1)

    def settle(self, turn: Turn) -> Turn:
        """What `Peer` does at the end of a step, as far as this machine is concerned."""
        carried = 0
        while True:
            for fact in turn.facts[carried:]:
                self.team.learn(turn, fact)
            carried = len(turn.facts)
            if turn.writes:
                writes, turn.writes = turn.writes, []
                if self.is_overloaded:
                    continue
                _, merged = self.store.write(writes, self.now)
                for key in merged.keys:
                    self.team.dirty |= self.team.hearing.learn_key(turn, key, self.now)
            deadline = self.team.deadline()
            if self.team.dirty or (deadline is not None and deadline <= self.now):
                self.team.decide(turn, self.view)
            elif carried == len(turn.facts):
                return turn

    def commit(self, data: bytes) -> Turn:
        """A command comes out of the log."""
        turn = self.turn()
        entry = LogEntry(self.ledger.applied + 1, 1, EntryKind.COMMAND, data)
        for fact in self.ledger.apply(entry):
            turn.report(fact)
        return self.settle(turn)

    def wait(self, duration: Nanoseconds) -> Turn:
        self.now += duration
        return self.settle(self.turn())

    def submit(self, job: object) -> Turn:
        turn = self.turn()
        self.team.submit(turn, self.view, 7, job)  # type: ignore[arg-type]
        return self.settle(turn)

    def begin(self, *tasks: object, **options: object) -> Invoke:
        """Submit a job and see its first task started."""
        turn = self.submit(job(*tasks, **options))  # type: ignore[arg-type]
        (command,) = commands(turn)
        return invoked(self.commit(command))[0]


def commands(turn: Turn) -> list[bytes]:
    """What the turn proposes."""
    return [data for _, data in turn.proposals]


def invoked(turn: Turn) -> list[Invoke]:
    return [item for item in (*turn.before, *turn.after) if isinstance(item, Invoke)]


def replies(turn: Turn) -> list[Reply]:
    return [item for item in turn.before if isinstance(item, Reply)]


def finished(invocation: int, *files: File) -> Completed:
    return Completed(invocation, files, "done", Usage())
