"""What happened in a run, as plain data: for diagrams and for other people's tools.

    Recording(nodes, events)      events in order of time; names as people know them

Invariants: times do not decrease; a message is sent once, and arrives or is lost only after that,
perhaps more than once if it was repeated. Whoever records keeps them, and stays within the bounds.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import Enum
from typing import TypeAlias

from protocol.clocks import Nanoseconds
from protocol.messages import Message
from protocol.messages.agreement import (
    Agreement,
    Append,
    AppendReply,
    Learned,
    LearnRequest,
    Resigned,
    SnapshotPart,
    SnapshotReply,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from protocol.messages.sharing import Delta, Digest, DigestSums, PartDigest, Push, Summary

EVENTS_MAX = 200_000
NODES_MAX = 256
TEXT_MAX = 500  # characters of a fact or a detail; the rest is cut off


class MessageKind(Enum):
    """What a message is about."""

    VOTE = "votes"
    APPEND = "appends"
    SNAPSHOT = "snapshots"
    GOSSIP = "gossip"
    MEMBERSHIP = "membership"
    OTHER = "other"


class FaultKind(Enum):
    """What a fault does."""

    CRASH = "crash"
    PAUSE = "pause"
    CUT = "cut"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Sent:
    at_ns: Nanoseconds
    number: int
    sender: str
    receiver: str
    kind: MessageKind
    detail: str


@dataclass(frozen=True, slots=True)
class Delivered:
    at_ns: Nanoseconds
    number: int


@dataclass(frozen=True, slots=True)
class Lost:
    at_ns: Nanoseconds
    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class Happened:
    """A fact, as one line; its first character is its mark."""

    at_ns: Nanoseconds
    node: str
    text: str


@dataclass(frozen=True, slots=True)
class RoleTaken:
    """A node is leader, candidate, ... of a term from now on, until the next one or a crash."""

    at_ns: Nanoseconds
    node: str
    role: str
    term: int


@dataclass(frozen=True, slots=True)
class Fault:
    """On a node, or on the whole network (None), until a time or the end (None)."""

    at_ns: Nanoseconds
    node: str | None
    kind: FaultKind
    text: str
    until_ns: Nanoseconds | None


Recorded: TypeAlias = Sent | Delivered | Lost | Happened | RoleTaken | Fault


@dataclass(frozen=True, slots=True)
class Recording:
    """See the module's text."""

    nodes: tuple[str, ...]
    events: tuple[Recorded, ...]

    def __post_init__(self) -> None:
        assert len(self.events) <= EVENTS_MAX, "a recording is bounded"
        assert len(self.nodes) <= NODES_MAX
        assert len(set(self.nodes)) == len(self.nodes), "names are told apart"
        known, sent, before = {*self.nodes, None}, set(), None
        for event in self.events:
            assert before is None or before <= event.at_ns, "time does not go back"
            before = event.at_ns
            match event:
                case Sent():
                    assert event.number not in sent, "a message is sent once"
                    assert {event.sender, event.receiver} <= known
                    sent.add(event.number)
                case Delivered() | Lost():
                    assert event.number in sent, "what arrives was sent before"
                case Happened() | RoleTaken() | Fault():
                    assert event.node in known


def kind_of(message: Message) -> MessageKind:
    """What a message of the protocol is about."""
    match message:
        case Agreement(message=inner):
            match inner:
                case VoteRequest() | VoteReply() | TimeoutNow() | Resigned():
                    return MessageKind.VOTE
                case Append() | AppendReply() | Learned() | LearnRequest():
                    return MessageKind.APPEND
                case SnapshotPart() | SnapshotReply():
                    return MessageKind.SNAPSHOT
                case _:
                    return MessageKind.OTHER
        case Push() | Summary() | Digest() | DigestSums() | PartDigest() | Delta():
            return MessageKind.GOSSIP
        case _:
            return MessageKind.MEMBERSHIP


def narrow(
    recording: Recording,
    nodes: Collection[str] | None = None,
    kinds: Collection[MessageKind] | None = None,
    begin_ns: Nanoseconds | None = None,
    end_ns: Nanoseconds | None = None,
) -> Recording:
    """The part of it that is asked for: messages between these nodes, of these kinds, sent in this
    time. Roles and faults that lasted already begin with it."""
    chosen = tuple(name for name in recording.nodes if nodes is None or name in nodes)
    begin = begin_ns if begin_ns is not None else min_time(recording)
    end = end_ns if end_ns is not None else max_time(recording)
    roles: dict[str, RoleTaken] = {}
    lasting: list[Recorded] = []
    inside: list[Recorded] = []
    numbers: set[int] = set()
    for event in recording.events:
        if not _concerns(event, chosen, kinds, numbers) or event.at_ns > end:
            continue
        if event.at_ns >= begin:
            inside.append(event)
            if isinstance(event, Sent):
                numbers.add(event.number)
        elif isinstance(event, RoleTaken):
            roles[event.node] = replace(event, at_ns=begin)
        elif isinstance(event, Fault):
            if event.kind is FaultKind.CRASH and event.node:
                roles.pop(event.node, None)
            if event.until_ns is None or event.until_ns > begin:
                lasting.append(replace(event, at_ns=begin))
    return Recording(chosen, (*lasting, *roles.values(), *inside))


def _concerns(
    event: Recorded,
    nodes: tuple[str, ...],
    kinds: Collection[MessageKind] | None,
    numbers: Collection[int],
) -> bool:
    match event:
        case Sent():
            between = event.sender in nodes and event.receiver in nodes
            return between and (kinds is None or event.kind in kinds)
        case Delivered() | Lost():
            return event.number in numbers
        case Fault(node=None):
            return True
        case _:
            return event.node in nodes


def min_time(recording: Recording) -> Nanoseconds:
    return recording.events[0].at_ns if recording.events else 0


def max_time(recording: Recording) -> Nanoseconds:
    """Of the last event. A fault may last longer."""
    return recording.events[-1].at_ns if recording.events else 0
