"""One step of a peer while it is being taken: what the machines want done, in its three parts.

    before    needs no disk: goes out at once
    records   to be made durable
    after     promises something: goes out when the records, and all earlier ones, are durable

Machines get the turn as an argument and write into it; `Peer` turns it into effects. Facts are
collected in order and carried to the other machines before the step ends.
"""

from __future__ import annotations

from protocol.clocks import Nanoseconds
from protocol.effects import Abort, Answer, Asked, Invoke, Permit, ReadPart, Record, Snapshot
from protocol.facts import Fact
from protocol.identity import NOBODY, NodeId
from protocol.messages import Message
from protocol.messages.agreement import EntryKind, LogEntry, OfLog, ReadRequest

Outgoing = tuple[NodeId, str, Message | OfLog]


class Turn:
    """See the module's text. `sequence` is the number that this step's `Persist` will have."""

    __slots__ = (
        "after",
        "before",
        "committed",
        "facts",
        "now",
        "proposals",
        "read_requests",
        "reads",
        "records",
        "sequence",
        "wall",
        "writes",
    )

    def __init__(self, now: Nanoseconds, wall: Nanoseconds, sequence: int) -> None:
        self.now = now
        self.wall = wall
        self.sequence = sequence
        self.before: list[Outgoing | Invoke | Abort | Permit | Asked | ReadPart | Answer] = []
        self.records: list[Record] = []
        self.after: list[Outgoing | Invoke | Abort | Permit | Answer] = []
        self.facts: list[Fact] = []
        self.committed: list[LogEntry | Snapshot] = []
        self.reads: list[tuple[object, int]] = []
        self.read_requests: list[ReadRequest] = []
        self.proposals: list[tuple[EntryKind, bytes]] = []
        self.writes: list[tuple[str, bytes | None]] = []

    def send(self, destination: NodeId, message: Message | OfLog) -> None:
        """Send a message that promises nothing."""
        self.before.append((destination, "", message))

    def send_to_endpoint(self, endpoint: str, message: Message) -> None:
        """Send to whoever listens at a seed address."""
        self.before.append((NOBODY, endpoint, message))

    def send_durable(self, destination: NodeId, message: Message | OfLog) -> None:
        """Send once everything persisted so far is durable."""
        self.after.append((destination, "", message))

    def persist(self, record: Record) -> None:
        """Make the record durable."""
        self.records.append(record)

    def perform(self, effect: Invoke | Abort | Permit | Asked | ReadPart | Answer) -> None:
        """Start or stop an agent, answer it, ask the host, or answer a client."""
        self.before.append(effect)

    def perform_durable(self, effect: Invoke | Abort) -> None:
        """Start or stop an agent once everything persisted so far is durable."""
        self.after.append(effect)

    def answer_durable(self, answer: Answer | Permit) -> None:
        """Answer a client or an agent once everything persisted so far is durable."""
        self.after.append(answer)

    def report(self, fact: Fact) -> None:
        """State what happened."""
        self.facts.append(fact)

    def commit(self, entry: LogEntry | Snapshot) -> None:
        """Hand a committed log entry on to the state machine, in log order; or a snapshot that
        stands for all up to its index."""
        self.committed.append(entry)

    def propose(self, data: bytes, kind: EntryKind = EntryKind.COMMAND) -> None:
        """Ask for something to be appended to the log, here or at the leader's. It may get lost:
        whoever proposes looks at what the log has led to, and repeats."""
        self.proposals.append((kind, data))

    def write(self, key: str, value: bytes | None) -> None:
        """Write a value into the replicated store as this node; None deletes what it has seen."""
        self.writes.append((key, value))
