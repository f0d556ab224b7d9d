"""A ledger fed by hand, and small jobs for it."""

from __future__ import annotations

from protocol.facts import Fact
from protocol.identity import NodeId
from protocol.jobs import NO_USAGE, ClaimMode, File, Job, Quorum, Task, Usage
from protocol.ledger import (
    AcceptResult,
    ClaimTask,
    Command,
    JobState,
    Ledger,
    SubmitJob,
    TaskState,
    encode_command,
)
from protocol.messages.agreement import EntryKind, LogEntry

ALONE = Quorum()
ADA, BOB, CAT = NodeId("ada"), NodeId("bob"), NodeId("cat")


def task(
    name: str, *needs: str, quorum: Quorum = ALONE, attempts_max: int = 5, weight: float = 1.0
) -> Task:
    """A task that writes one file of its own name."""
    return Task(
        name, f"make {name}", needs=needs, writes=(name,), quorum=quorum,
        attempts_max=attempts_max, weight=weight,
    )  # fmt: skip


def job(*tasks: Task, claims: ClaimMode = ClaimMode.LEASE, name: str = "job") -> Job:
    return Job(name, name, tasks, claims=claims)


class Book:
    """A ledger and the log that made it."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.log: list[LogEntry] = []

    def say(self, command: Command | bytes) -> list[Fact]:
        """Commit a command: what followed."""
        data = command if isinstance(command, bytes) else encode_command(command)
        entry = LogEntry(len(self.log) + 1, 1, EntryKind.COMMAND, data)
        self.log.append(entry)
        return self.ledger.apply(entry)

    def submit(self, job: Job, assignment: tuple[tuple[str, int, NodeId], ...] = ()) -> list[Fact]:
        return self.say(SubmitJob(job, assignment))

    def claim(self, name: str, node: NodeId, token: int = 1, slot: int = 0) -> list[Fact]:
        return self.say(ClaimTask("job", name, slot, node, token))

    def accept(
        self, name: str, node: NodeId = ADA, token: int = 1, slot: int = 0, text: str = "good",
        usage: Usage = NO_USAGE,
    ) -> list[Fact]:  # fmt: skip
        files = (File(name, text.encode()),)
        return self.say(AcceptResult("job", name, slot, node, token, files, text, usage))

    @property
    def state(self) -> JobState:
        return self.ledger.jobs["job"]

    def task(self, name: str) -> TaskState:
        return self.state.tasks[name]
