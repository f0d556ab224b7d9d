"""What a node of a tiny cluster does, for each of its local states and each input: the one place
where the machine runs, and only once for each such pair.

Local states and inputs get numbers in the order in which they are met; all lists here are indexed
by them. Two local states with the same number behave alike for ever (`freezing`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from protocol import codec
from protocol.config import RaftConfig
from protocol.configuration import Configuration
from protocol.effects import HardState
from protocol.identity import NOBODY, NodeId
from protocol.messages.agreement import (
    Append,
    AppendReply,
    EntryKind,
    LogEntry,
    OfRaft,
    Resigned,
    SnapshotReply,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from protocol.raft import Raft, Role
from protocol.sim.disk import Disk
from protocol.sim.freezing import fork, frozen
from protocol.sim.small_bounds import (
    CHANGES,
    CRASHES,
    ENTRIES,
    FREE,
    HEARTBEATS,
    NAMES,
    RESIGNATIONS,
    TRANSFERS,
    Bounds,
)
from protocol.sim.small_history import Picture, picture_of
from protocol.sim.small_node import (
    Broken,
    Claim,
    Deed,
    Input,
    Kind,
    Letter,
    SmallNode,
    new_node,
    react,
)


@dataclass(frozen=True, slots=True)
class Reaction:
    """What an input makes of a local state."""

    local: int
    sent: tuple[int, ...]
    claims: tuple[Claim, ...]
    broken: tuple[Broken, ...]

    @property
    def is_telling(self) -> bool:
        """Whether there is something to be judged even if the local state is the same."""
        return bool(self.claims or self.broken)


class Reactions:
    """See the module's text.

    pictures   of a local state, what it looks like
    log_of     the number of its log
    deeds      what it may do: the ration that costs, and the input by how much there is of it
    receiver   of an input, the place of the node that takes it
    lasts      whether it is a letter that is never used up
    rank       which letters on a link it overtakes: those with the same first part, if lower
    """

    def __init__(self, bounds: Bounds, machine: type[Raft], reduced: bool) -> None:
        self.bounds = bounds
        self.names = [NodeId(name) for name in NAMES[: bounds.nodes]]
        self.term_max = 0
        self.count = 0  # how often the machine ran
        self.pictures: list[Picture] = []
        self.log_of: list[int] = []
        self.deeds: list[list[tuple[int, list[int]]]] = []
        self.inputs: list[Input] = []
        self.receiver: list[int] = []
        self.lasts: list[bool] = []
        self.rank: list[tuple[object, int] | None] = []
        self._machine = machine
        self._reduced = reduced
        self._place = {name: at for at, name in enumerate(self.names)}
        self._locals: dict[object, int] = {}
        self._nodes: list[SmallNode] = []
        self._logs: dict[tuple[LogEntry, ...], int] = {}
        self._reactions: list[dict[int, Reaction | None]] = []
        self._void: list[dict[int, bool]] = []
        self._answers: list[dict[int, tuple[int, ...]]] = []
        self._numbers: dict[Input, int] = {}

    def begin(self) -> list[int]:
        """The local states that all begins with."""
        bounds = self.bounds
        logs = bounds.logs or ((1,),) * bounds.nodes
        term = max(terms[-1] for terms in logs)
        self.term_max = term + bounds.terms
        found = codec.pack_value(Configuration(tuple(self.names)))
        # No time-out holds anything back: see `small_node`.
        config = RaftConfig(
            election_timeout_ns=0,
            lease_ns=0,
            vote_repeat_ns=0,
            append_size_max=1 if bounds.append_single else RaftConfig().append_size_max,
        )
        begun = []
        for name, terms in zip(self.names, logs, strict=True):
            first = LogEntry(1, terms[0], EntryKind.VOTERS, found)
            rest = [
                LogEntry(at, each, EntryKind.COMMAND, b"%d/%d" % (at, each))
                for at, each in enumerate(terms[1:], start=2)
            ]
            disk = Disk(HardState(term, NOBODY), entries=[first, *rest])
            node = new_node(self._machine, name, config, disk, bounds.slow_disks, bounds.pre_votes)
            begun.append(self._number_local(node))
        return begun

    # -- what happens ------------------------------------------------------------------------------

    def reaction(self, local: int, what: int) -> Reaction | None:
        """What comes of an input in a local state; None if nothing."""
        try:
            return self._reactions[local][what]
        except KeyError:
            return self._react(local, what)

    def _react(self, local: int, what: int) -> Reaction | None:
        self.count += 1
        node = fork(self._nodes[local])
        outcome = react(node, self.inputs[what])
        after = self._number_local(node)
        sent = tuple(
            self.number_input(letter) for letter in outcome.sent if letter.receiver in self._place
        )
        reaction: Reaction | None = None
        if after != local or sent or outcome.broken:
            reaction = Reaction(after, sent, tuple(outcome.claims), tuple(outcome.broken))
        self._reactions[local][what] = reaction
        return reaction

    def answers(self, local: int, letter: int) -> tuple[int, ...]:
        """The answers to a lasting letter, if they last as well and giving them changes nothing."""
        known = self._answers[local]
        if letter not in known:
            reaction = self.reaction(local, letter)
            is_free = (
                reaction is not None
                and reaction.local == local
                and not reaction.broken
                and all(self.lasts[answer] for answer in (letter, *reaction.sent))
            )
            known[letter] = reaction.sent if reaction is not None and is_free else ()
        return known[letter]

    def is_void(self, local: int, letter: int) -> bool:
        """Whether the letter means nothing to its receiver any more. Having no effect now is asked
        of the machine itself, lest a mistake in it be hidden."""
        known = self._void[local]
        if letter not in known:
            found = self.inputs[letter]
            assert isinstance(found, Letter)
            is_past = self._reduced and _is_past(found.message, self.pictures[local])
            known[letter] = is_past and self.reaction(local, letter) is None
        return known[letter]

    def loss_of(self, letter: int) -> int:
        """The input by which the sender notices that it got lost."""
        lost = self.inputs[letter]
        assert isinstance(lost, Letter)
        return self.number_input(Deed(lost.sender, Kind.UNREACHABLE, lost.receiver))

    # -- numbers -----------------------------------------------------------------------------------

    def number_input(self, what: Input) -> int:
        number = self._numbers.setdefault(what, len(self.inputs))
        if number == len(self.inputs):
            self.inputs.append(what)
            actor, lasts, rank = NOBODY, False, None
            match what:
                case Deed():
                    actor = what.node
                case Letter():
                    actor = what.receiver
                    lasts = isinstance(what.message, VoteRequest | VoteReply)
                    rank = None if self.bounds.overtaking else _rank_of(what)
            self.receiver.append(self._place[actor])
            self.lasts.append(lasts and self._reduced)
            self.rank.append(rank)
        return number

    def _number_local(self, node: SmallNode) -> int:
        number = self._locals.setdefault(frozen(node), len(self._nodes))
        if number == len(self._nodes):
            picture = picture_of(node)
            self._nodes.append(node)
            self.pictures.append(picture)
            self.log_of.append(self._logs.setdefault(picture.log, len(self._logs)))
            self.deeds.append(self._deeds_of(node))
            self._reactions.append({})
            self._void.append({})
            self._answers.append({})
        return number

    def _deeds_of(self, node: SmallNode) -> list[tuple[int, list[int]]]:
        raft, name, bounds = node.raft, node.raft.node, self.bounds
        deeds = [(CRASHES, [Deed(name, Kind.CRASH)])]
        if node.writes:
            deeds.append((FREE, [Deed(name, Kind.WRITTEN)]))
        if raft.role is Role.LEADER:
            commands = [str(bounds.entries - left) for left in range(bounds.entries + 1)]
            deeds.append((ENTRIES, [Deed(name, Kind.PROPOSE, each) for each in commands]))
            deeds.append((HEARTBEATS, [Deed(name, Kind.HEARTBEAT)]))
            deeds.append((RESIGNATIONS, [Deed(name, Kind.RESIGN)]))
            wanted = ",".join(sorted(bounds.change_to))
            deeds.append((CHANGES, [Deed(name, Kind.CHANGE, wanted)]))
            others = [other for other in self.names if other != name]
            deeds += [(TRANSFERS, [Deed(name, Kind.TRANSFER, other)]) for other in others]
        elif raft.may_campaign and raft.term < self.term_max and not _is_asking(raft):
            deeds.append((FREE, [Deed(name, Kind.TIME_OUT)]))
        return [
            (ration, [self.number_input(deed) for deed in choices])
            for ration, choices in deeds
            if bounds.rations[ration]
        ]


def _is_asking(raft: Raft) -> bool:
    """A time-out would only make it ask once more, or not even that: see `Raft.tick`."""
    is_casting = raft.role is Role.CANDIDATE and not raft.durable_vote
    return is_casting or raft.role is Role.PRE_CANDIDATE


def _is_past(message: OfRaft, receiver: Picture) -> bool:
    """Whether an answer or a hint is of the past for ever: the receiver's disk has a later term, so
    that it will never be in that one again, or it holds an office in which nobody asks."""
    durable = receiver.disk_term
    match message:
        case VoteReply():
            if not message.granted:
                return message.term <= durable
            if message.pre:
                return message.term <= durable and message.asked <= durable
            past = message.asked < durable or (
                message.asked == durable == receiver.term and receiver.role is not Role.CANDIDATE
            )
            return message.term <= durable and past
        case AppendReply() | SnapshotReply():
            past = message.asked < durable or (
                message.asked == durable == receiver.term and receiver.role is not Role.LEADER
            )
            return message.term <= durable and past
        case TimeoutNow() | Resigned():
            return message.term < durable
        case _:
            return False


def _rank_of(letter: Letter) -> tuple[object, int] | None:
    """Appends of one term are ordered by their requests, and so are the answers. A message that
    only tells the commit index has no number, but the index grows."""
    message = letter.message
    match message:
        case Append():
            number = message.request or message.commit
            is_telling = message.request == 0
            return (letter.sender, letter.receiver, message.term, is_telling), number
        case AppendReply() if message.request:
            return (letter.sender, letter.receiver, message.asked, None), message.request
        case _:
            return None


def text_of(what: Input) -> str:
    """An input in a line, for people."""
    if isinstance(what, Deed):
        return str(what)
    message = what.message
    parts = []
    for each in fields(message):
        value = getattr(message, each.name)
        if each.name == "entries":
            value = "[" + " ".join(f"{entry.index}/{entry.term}" for entry in value) + "]"
        if value is not False:
            parts.append(each.name if value is True else f"{each.name}={value}")
    return f"{what.sender} -> {what.receiver}: {type(message).__name__} {' '.join(parts)}"
