"""One node of a tiny cluster: a real `Raft`, its disk, and the writes between them.

    react(node, input) -> what it says, what it claims, what it breaks

An input is a letter that arrives or a deed: a time-out, a proposal, a crash, a disk that has done
its next write. There is no time in it: `now` is always 0 and every time-out is 0 long, so that none
ever holds anything back. A time-out comes when the search says so, which is any time; safety
may not depend on when. (Lease reads do, and are not looked at here.)

Checked after each turn, on this node alone:

    one vote per term           it has not changed its mind within a term
    votes are durable           whoever is told of a vote finds it on this disk
    acknowledged is durable     so with entries
    leader append-only          a leader drops nothing (Figure 3)
    no surprise                 no assertion fails, no message of a correct node is refused
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from protocol.config import RaftConfig
from protocol.configuration import Change, ChangeKind, Configuration
from protocol.effects import Record
from protocol.errors import Busy, ChangeRefused, NotLeader, RemoteProtocolError
from protocol.identity import NOBODY, NodeId
from protocol.messages.agreement import AppendReply, LogEntry, OfRaft, VoteReply, VoteRequest
from protocol.raft import Raft, Role
from protocol.sim.disk import Disk
from protocol.sim.freezing import NoChance
from protocol.turn import Outgoing, Turn

ONE_VOTE = "one vote per term"
VOTES_DURABLE = "votes are durable"
ACKNOWLEDGED_DURABLE = "acknowledged is durable"
APPEND_ONLY = "leader append-only"
NO_SURPRISE = "no surprise"

_CHANCE = NoChance()


class Kind(Enum):
    """What may happen to a node besides a letter. Most are rationed."""

    TIME_OUT = "election time-out"
    PROPOSE = "a client proposes"
    HEARTBEAT = "heartbeat"
    RESIGN = "steps down: no majority answers"
    TRANSFER = "hands over to"
    CHANGE = "changes the voters to"
    UNREACHABLE = "finds nobody at"
    CRASH = "crashes and starts again"
    WRITTEN = "its disk has done the next write"


@dataclass(frozen=True, slots=True)
class Deed:
    """An input that is no letter. `about`: a command, a node, or nodes, as the kind needs."""

    node: NodeId
    kind: Kind
    about: str = ""

    def __str__(self) -> str:
        return f"{self.node}: {self.kind.value} {self.about}".rstrip()


@dataclass(frozen=True, slots=True)
class Letter:
    """A message on its way."""

    sender: NodeId
    receiver: NodeId
    message: OfRaft

    def __str__(self) -> str:
        return f"{self.sender} -> {self.receiver}: {self.message}"


Input = Letter | Deed


@dataclass(frozen=True, slots=True)
class Claim:
    """A leader has counted `entry` as committed, since this `configuration` has it on its disks."""

    entry: LogEntry
    configuration: Configuration


@dataclass(frozen=True, slots=True)
class Broken:
    """An invariant, and what was seen in its place."""

    invariant: str
    detail: str


@dataclass(slots=True)
class Outcome:
    """What a node did in answer to one input."""

    sent: list[Letter] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)


@dataclass(slots=True)
class SmallNode:
    """See the module's text. `writes`: what the disk has not done yet, and what is to be said once
    it has. `sequence`: of the last of them; the oldest has 1, so that nodes which differ
    in their past only are equal."""

    raft: Raft
    disk: Disk
    slow_disk: bool
    pre_votes: bool
    sequence: int = 0
    writes: list[tuple[tuple[Record, ...], tuple[Outgoing, ...]]] = field(default_factory=list)


def new_node(
    machine: type[Raft], name: NodeId, config: RaftConfig, disk: Disk, slow: bool, pre: bool
) -> SmallNode:
    """A node that has just started with what is on its disk."""
    return SmallNode(machine(name, config, _CHANCE, disk.restored(), 0), disk, slow, pre)


def react(node: SmallNode, what: Input) -> Outcome:
    """Let the node take the input. It changes; the outcome tells the rest. After a surprise the
    node is not to be used any more."""
    outcome = Outcome()
    try:
        if isinstance(what, Letter):
            sender, message = what.sender, what.message
            _act(node, outcome, lambda turn: node.raft.step(turn, sender, message))
        else:
            _do(node, outcome, what)
    except (AssertionError, RemoteProtocolError) as fault:
        said = f"{type(fault).__name__}: {fault}"
        outcome.broken.append(Broken(NO_SURPRISE, f"{node.raft.node} at {what}: {said}"))
    return outcome


def _do(node: SmallNode, outcome: Outcome, deed: Deed) -> None:
    raft = node.raft
    match deed.kind:
        case Kind.TIME_OUT:
            _act(
                node,
                outcome,
                raft.elections.campaign if node.pre_votes else _campaign_at_once(raft),
            )
        case Kind.PROPOSE:
            _act(node, outcome, lambda turn: raft.propose(turn, deed.about.encode()))
        case Kind.HEARTBEAT:
            leadership = raft.leadership
            assert leadership is not None
            _act(node, outcome, lambda turn: leadership.broadcast(turn, heartbeat=True))
        case Kind.RESIGN:
            _act(node, outcome, lambda turn: raft.resign(turn, deed.kind.value))
        case Kind.TRANSFER:
            _act(node, outcome, lambda turn: raft.transfer(turn, NodeId(deed.about)))
        case Kind.CHANGE:
            wanted = {NodeId(name) for name in deed.about.split(",")}
            changes = _changes(raft.configuration, wanted)
            _act(node, outcome, lambda turn: raft.change(turn, changes))
        case Kind.UNREACHABLE:
            _act(node, outcome, lambda turn: raft.unreachable(turn, NodeId(deed.about)))
        case Kind.CRASH:
            node.writes.clear()
            node.sequence = 0
            node.raft = type(raft)(raft.node, raft.config, _CHANCE, node.disk.restored(), 0)
        case Kind.WRITTEN:
            _write(node, outcome)


def _campaign_at_once(raft: Raft) -> Callable[[Turn], object]:
    """Raise the term as if a majority had granted the pre-vote. It is granted without a trace, so
    that the search loses nothing but the pre-vote itself by this."""

    def deed(turn: Turn) -> None:
        if raft.role is Role.CANDIDATE:
            raft.become_pre_candidate(Turn(turn.now, turn.wall, turn.sequence))
        raft.become_candidate(turn)

    return deed


def _changes(configuration: Configuration, wanted: set[NodeId]) -> list[Change]:
    voters = set(configuration.voters)
    added = [Change(ChangeKind.ADD_VOTER, node) for node in sorted(wanted - voters)]
    return added + [Change(ChangeKind.REMOVE, node) for node in sorted(voters - wanted)]


# -- turns and the disk ---------------------------------------------------------------------------


def _act(node: SmallNode, outcome: Outcome, deed: Callable[[Turn], object]) -> None:
    """One turn of the machine, and what it asks for, in the promised order."""
    raft = node.raft
    before = _picture(raft)
    configuration = raft.configuration
    turn = Turn(0, 0, node.sequence + 1)
    try:
        deed(turn)
    except (NotLeader, Busy, ChangeRefused):
        return  # nothing was done
    _check_turn(raft, before, outcome)
    if raft.role is Role.LEADER and raft.commit > before.commit:
        outcome.claims.append(Claim(raft.log.entry(raft.commit), configuration))
    for item in turn.before:
        assert isinstance(item, tuple)
        _send(node, outcome, item)
    promises = tuple(item for item in turn.after if isinstance(item, tuple))
    if turn.records:
        node.sequence = turn.sequence
        node.writes.append((tuple(turn.records), promises))
        if not node.slow_disk:
            _write(node, outcome)
    elif node.writes:  # it waits for the last of them; to say a thing twice then is to say it once
        records, after = node.writes[-1]
        news = tuple(item for item in promises if item not in after)
        node.writes[-1] = (records, tuple(sorted(after + news, key=repr)))
    else:
        for item in promises:
            _send(node, outcome, item)


def _write(node: SmallNode, outcome: Outcome) -> None:
    """The disk does the oldest write. It gets the number 0, so that the oldest left has 1."""
    records, after = node.writes.pop(0)
    node.disk.write(records)
    for item in after:
        _send(node, outcome, item)
    node.sequence -= 1
    node.raft.writes.renumber(by=1)
    node.raft.elections.renumber(by=1)
    _act(node, outcome, lambda turn: node.raft.persisted(turn, 0))


def _send(node: SmallNode, outcome: Outcome, item: Outgoing) -> None:
    destination, _, message = item
    assert isinstance(message, OfRaft)
    _check_promise(node, outcome, destination, message)
    outcome.sent.append(Letter(node.raft.node, destination, message))


# -- what must hold here ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Picture:
    role: Role
    term: int
    vote: NodeId
    commit: int
    entries: tuple[LogEntry, ...]


def _picture(raft: Raft) -> _Picture:
    return _Picture(raft.role, raft.term, raft.vote, raft.commit, tuple(raft.log._entries))


def _check_turn(raft: Raft, before: _Picture, outcome: Outcome) -> None:
    if raft.term == before.term and before.vote not in (NOBODY, raft.vote):
        votes = f"{before.vote} and {raft.vote or 'nobody'}"
        detail = f"{raft.node} votes for {votes} in term {raft.term}"
        outcome.broken.append(Broken(ONE_VOTE, detail))
    if before.role is raft.role is Role.LEADER and before.term == raft.term:
        held = tuple(raft.log._entries[: len(before.entries)])
        if held != before.entries:
            detail = f"{raft.node} drops entries while it leads term {raft.term}"
            outcome.broken.append(Broken(APPEND_ONLY, detail))


def _check_promise(node: SmallNode, outcome: Outcome, destination: NodeId, message: OfRaft) -> None:
    """What is told must be on the disk when it is told."""
    disk, name = node.disk, node.raft.node
    match message:
        case VoteReply() if message.granted and not message.pre:
            told = (message.asked, destination)
        case VoteRequest() if not message.pre:
            told = (message.term, name)
        case AppendReply() if message.success:
            if disk.last_index < message.index:
                detail = f"{name} acknowledges entry {message.index}; its disk lacks it"
                outcome.broken.append(Broken(ACKNOWLEDGED_DURABLE, detail))
            return
        case _:
            return
    term, candidate = told
    kept = disk.hard_state
    if kept.term < term or (kept.term == term and kept.vote != candidate):
        detail = f"{name} tells its vote for {candidate} in term {term}; its disk has {kept}"
        outcome.broken.append(Broken(VOTES_DURABLE, detail))
