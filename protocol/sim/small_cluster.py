"""A tiny cluster as a graph of states, and the moves between them.

A state is a tuple of numbers: for each node the number of its local state, then the number of what
is left of the rations, of the history, how many nodes have acted, and the letters on their way as
a sorted multiset. What a node does depends on its local state and the input only, so the real
machine runs once for each such pair; all else is arithmetic on tuples.

Fewer states, and none that matters is lost:
  - A letter may stay on its way for ever: to all others that is what being lost means. Loss is
    therefore free and unbounded; `drops` rations the losses that the sender notices.
  - An input that changes nothing and says nothing is not taken.
  - A letter that has no effect now and, by its term, can have none later, is not kept.
  - Requests for votes and the answers last: they are delivered any number of times, so that their
    repetition is free and unbounded too. (That of Appends is not: each answer may lead to another
    request under a new number. `duplicates` rations it.)
  - A lasting letter that changes nothing and is answered by one is answered at once: whatever may
    happen with fewer letters on their way may happen with more.
  - Nodes that start alike act for the first time in the order of their names: any other run is
    one of these under other names. (The machine uses the order of names only to number the requests
    within one broadcast, and compares such numbers for one follower at a time.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from protocol import codec
from protocol.config import RaftConfig
from protocol.configuration import Configuration
from protocol.effects import HardState
from protocol.identity import NOBODY, NodeId
from protocol.messages import (
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
from protocol.sim.small_history import History, Picture, check_claim, compare, follow, picture_of
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

NAMES = "abcde"

State = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Bounds:
    """How small the cluster is. `terms` and `entries` come on top of what the logs begin with: by
    default one entry of term 1, the configuration, at every node. `logs`: the terms of each node's
    log, to begin in the middle of a story; it must be one that Raft can have got to."""

    nodes: int = 3
    terms: int = 2
    entries: int = 2
    heartbeats: int = 0
    resignations: int = 0
    transfers: int = 0
    changes: int = 0  # of the voters, to `change_to`
    crashes: int = 0
    duplicates: int = 0
    drops: int = 0  # that the sender notices; others are free
    change_to: str = "a"
    pre_votes: bool = True  # else granted unasked
    slow_disks: bool = False  # else a turn and its write are one
    append_single: bool = False  # one entry in each Append
    logs: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        assert 1 <= self.nodes <= len(NAMES)
        assert not self.logs or len(self.logs) == self.nodes
        assert set(self.change_to) <= set(NAMES[: self.nodes])

    def __str__(self) -> str:
        return " ".join(
            f"{field.name}={getattr(self, field.name)}"
            for field in fields(self)
            if getattr(self, field.name) != field.default or field.name in ("terms", "entries")
        )


# What is rationed, in the order of a state's rations; the last stands for what is not.
_RATIONS = (
    "entries",
    "heartbeats",
    "resignations",
    "transfers",
    "changes",
    "crashes",
    "duplicates",
    "drops",
)
_RATION = {name: at for at, name in enumerate(_RATIONS)}
_CRASHES, _DUPLICATES, _DROPS = _RATION["crashes"], _RATION["duplicates"], _RATION["drops"]
_FREE = len(_RATIONS)


@dataclass(frozen=True, slots=True)
class Move:
    """How one state becomes another."""

    what: Input
    manner: str = ""

    def __str__(self) -> str:
        return f"{_text(self.what)}{self.manner}"


class Violation(Exception):
    """A move from a state breaks an invariant."""

    def __init__(self, broken: Broken, move: Move) -> None:
        super().__init__(f"{broken.invariant}: {broken.detail}")
        self.broken = broken
        self.move = move


@dataclass(frozen=True, slots=True)
class _Reaction:
    """What an input makes of a local state."""

    local: int
    sent: tuple[int, ...]
    claims: tuple[Claim, ...]
    broken: tuple[Broken, ...]


class SmallCluster:
    """See the module's text. `invariants`: the names of those that count; all, if it is None."""

    def __init__(
        self,
        bounds: Bounds,
        machine: type[Raft] = Raft,
        invariants: frozenset[str] | None = None,
    ) -> None:
        self.bounds = bounds
        self.machine = machine
        self.invariants = invariants
        self.names = [NodeId(name) for name in NAMES[: bounds.nodes]]
        self.reactions_count = 0
        self._place = {name: at for at, name in enumerate(self.names)}
        # Local states: the node itself, how it looks, what it may do, what it answers.
        self._locals: dict[object, int] = {}
        self._nodes: list[SmallNode] = []
        self._pictures: list[Picture] = []
        self._logs: dict[tuple[LogEntry, ...], int] = {}
        self._log_of: list[int] = []
        self._deeds: list[list[tuple[int, list[int]]]] = []
        self._reactions: list[dict[int, _Reaction | None]] = []
        self._dead: list[dict[int, bool]] = []
        self._free: dict[tuple[int, int], tuple[int, ...]] = {}
        # Inputs: letters and deeds.
        self._input_numbers: dict[Input, int] = {}
        self._inputs: list[Input] = []
        self._receiver: list[int] = []
        self._lasts: list[bool] = []
        # Rations, histories, and what was found out about pairs of things.
        self._ration_numbers: dict[tuple[int, ...], int] = {}
        self._rations: list[tuple[int, ...]] = []
        self._history_numbers: dict[History, int] = {History(): 0}
        self._histories: list[History] = [History()]
        self._followed: dict[tuple[int, int], tuple[int, Broken | None]] = {}
        self._matching: dict[tuple[int, int], Broken | None] = {}
        self.term_max = 0
        self.first = self._begin()

    # -- the beginning -----------------------------------------------------------------------------

    def _begin(self) -> State:
        bounds = self.bounds
        logs = bounds.logs or ((1,),) * bounds.nodes
        started_term = max(terms[-1] for terms in logs)
        self.term_max = started_term + bounds.terms
        found = Configuration(tuple(self.names))
        config = RaftConfig(
            election_timeout_ns=0,
            lease_ns=0,
            vote_repeat_ns=0,
            append_size_max=1 if bounds.append_single else RaftConfig().append_size_max,
        )
        locals_ = []
        for name, terms in zip(self.names, logs, strict=True):
            first = LogEntry(1, terms[0], EntryKind.VOTERS, codec.pack_value(found))
            rest = [
                LogEntry(at, term, EntryKind.COMMAND, b"%d/%d" % (at, term))
                for at, term in enumerate(terms[1:], start=2)
            ]
            disk = Disk(HardState(started_term, NOBODY), entries=[first, *rest])
            node = new_node(
                self.machine, name, config, disk, bounds.slow_disks, bounds.pre_votes
            )
            locals_.append(self._number_local(node))
        alike = not bounds.logs and not bounds.changes
        rations = tuple(getattr(bounds, name) for name in _RATIONS)
        return (*locals_, self._number_rations((*rations, 1)), 0, 0 if alike else bounds.nodes)

    # -- moves -----------------------------------------------------------------------------------

    def moves(self, state: State) -> Iterator[State]:
        """All states one move away, some of them more than once. Violation if one is illegal."""
        for successor, _, _ in self._moves(state):
            yield successor

    def move_between(self, state: State, successor: State) -> Move:
        """The move that leads from one to the other."""
        for found, what, manner in self._moves(state):
            if found == successor:
                return Move(self._inputs[what], manner)
        raise AssertionError("there is no such move")

    def _moves(self, state: State) -> Iterator[tuple[State, int, str]]:
        size = len(self.names)
        left_number = state[size]
        left = self._rations[left_number]
        letters = state[size + 3 :]
        acting = min(size, state[size + 2] + 1)
        for at in range(acting):
            for ration, numbers in self._deeds[state[at]]:
                if left[ration]:
                    what = numbers[left[ration] % len(numbers)]
                    rest = self._spend(left_number, ration)
                    found = self._next(state, at, what, letters, rest, "")
                    if found is not None:
                        yield found, what, ""
        yield from self._deliveries(state, acting, letters)

    def _deliveries(
        self, state: State, acting: int, letters: State
    ) -> Iterator[tuple[State, int, str]]:
        left_number = state[len(self.names)]
        left = self._rations[left_number]
        before = -1
        for place, letter in enumerate(letters):
            if letter == before:
                continue
            before = letter
            at = self._receiver[letter]
            lasts = self._lasts[letter]
            if lasts and self._free.get((state[at], letter)):
                continue  # it is answered already
            others = letters if lasts else letters[:place] + letters[place + 1 :]
            if at < acting:
                found = self._next(state, at, letter, others, left_number, "")
                if found is not None:
                    yield found, letter, ""
                if left[_DUPLICATES] and not lasts:
                    rest = self._spend(left_number, _DUPLICATES)
                    manner = " (and once more, later)"
                    found = self._next(state, at, letter, letters, rest, manner)
                    if found is not None:
                        yield found, letter, manner
            if left[_DROPS]:
                rest = self._spend(left_number, _DROPS)
                what = self._loss_of(letter)
                manner = f" (lost: {_text(self._inputs[letter])})"
                found = self._next(state, self._receiver[what], what, others, rest, manner)
                if found is not None:
                    yield found, what, manner

    def _next(
        self, state: State, at: int, what: int, letters: State, rations: int, manner: str
    ) -> State | None:
        """The state after node number `at` has taken an input; None if nothing comes of it."""
        local = state[at]
        reaction = self._reaction(local, what)
        if reaction is None:
            return None
        size = len(self.names)
        nodes = list(state[:size])
        nodes[at] = reaction.local
        history = state[size + 1]
        for broken in self._breaches(reaction, at, nodes):
            if broken is not None and self._counts(broken):
                raise Violation(broken, Move(self._inputs[what], manner))
        if reaction.local != local:
            history, broken = self._follow(history, nodes, at)
            if broken is not None:
                raise Violation(broken, Move(self._inputs[what], manner))
        awake = max(state[size + 2], at + 1)
        mail = self._mail(letters, reaction, at, nodes, awake)
        return (*nodes, rations, history, awake, *mail)

    def _mail(
        self, letters: State, reaction: _Reaction, at: int, nodes: list[int], awake: int
    ) -> list[int]:
        """What is on its way once number `at` has reacted: without what has become void, and with
        the answers that cost nothing, of nodes that have acted before."""
        receiver = self._receiver
        mail = [
            letter
            for letter in letters
            if receiver[letter] != at or not self._is_dead(reaction.local, letter)
        ]
        changed = [letter for letter in mail if receiver[letter] == at] 
        self._post(mail, changed, reaction.sent, nodes)
        while changed:
            letter = changed.pop()
            if receiver[letter] < awake:
                self._post(mail, changed, self._answers(nodes[receiver[letter]], letter), nodes)
        mail.sort()
        return mail

    def _post(
        self, mail: list[int], changed: list[int], sent: tuple[int, ...], nodes: list[int]
    ) -> None:
        """Add what is sent, unless it is void, or lasts and is there already."""
        for letter in sent:
            lasts = self._lasts[letter]
            if lasts and letter in mail:
                continue
            if not self._is_dead(nodes[self._receiver[letter]], letter):
                mail.append(letter)
                if lasts:
                    changed.append(letter)

    def _answers(self, local: int, letter: int) -> tuple[int, ...]:
        """The answers to a lasting letter, if they last as well and giving them changes nothing."""
        key = (local, letter)
        if key not in self._free:
            reaction = self._reaction(local, letter)
            is_free = (
                reaction is not None
                and reaction.local == local
                and not reaction.broken
                and all(self._lasts[answer] for answer in (letter, *reaction.sent))
            )
            self._free[key] = reaction.sent if reaction is not None and is_free else ()
        return self._free[key]

    def _breaches(
        self, reaction: _Reaction, at: int, nodes: list[int]
    ) -> Iterator[Broken | None]:
        """What this reaction breaks, as things stand."""
        yield from reaction.broken
        for claim in reaction.claims:
            yield check_claim(claim, [self._pictures[local] for local in nodes])
        mine = self._log_of[nodes[at]]
        for local in nodes:
            pair = (mine, self._log_of[local])
            if pair not in self._matching:
                one, other = self._pictures[nodes[at]].log, self._pictures[local].log
                self._matching[pair] = compare(one, other)
            yield self._matching[pair]

    def _follow(self, history: int, nodes: list[int], at: int) -> tuple[int, Broken | None]:
        """The history after node number `at` has changed; if it goes on, all are looked at."""
        after, broken = self._followed_by(history, nodes[at])
        if after != history:
            for local in nodes:
                if broken is None:
                    after, broken = self._followed_by(after, local)
        return after, broken

    def _followed_by(self, history: int, local: int) -> tuple[int, Broken | None]:
        key = (history, local)
        if key not in self._followed:
            found, broken = follow(self._histories[history], self._pictures[local])
            if broken is not None and not self._counts(broken):
                broken = None
            number = self._history_numbers.setdefault(found, len(self._histories))
            if number == len(self._histories):
                self._histories.append(found)
            self._followed[key] = (number, broken)
        return self._followed[key]

    def _counts(self, broken: Broken) -> bool:
        return self.invariants is None or broken.invariant in self.invariants

    # -- local states ------------------------------------------------------------------------------

    def _reaction(self, local: int, what: int) -> _Reaction | None:
        """What comes of an input in a local state; None for nothing."""
        try:
            return self._reactions[local][what]
        except KeyError:
            return self._react(local, what)

    def _react(self, local: int, what: int) -> _Reaction | None:
        """Run the machine."""
        self.reactions_count += 1
        node = fork(self._nodes[local])
        outcome = react(node, self._inputs[what])
        after = self._number_local(node)
        sent = tuple(
            self._number_input(letter) for letter in outcome.sent if letter.receiver in self._place
        )
        reaction: _Reaction | None = _Reaction(
            after, sent, tuple(outcome.claims), tuple(outcome.broken)
        )
        if after == local and not sent and not outcome.broken:
            reaction = None
        self._reactions[local][what] = reaction
        return reaction

    def _number_local(self, node: SmallNode) -> int:
        key = frozen(node)
        number = self._locals.setdefault(key, len(self._nodes))
        if number == len(self._nodes):
            picture = picture_of(node)
            self._nodes.append(node)
            self._pictures.append(picture)
            self._log_of.append(self._logs.setdefault(picture.log, len(self._logs)))
            self._deeds.append(self._deeds_of(node))
            self._reactions.append({})
            self._dead.append({})
        return number

    def _deeds_of(self, node: SmallNode) -> list[tuple[int, list[int]]]:
        """What the node may do now: the ration it costs, and the input, by how much is left."""
        raft, name = node.raft, node.raft.node
        deeds = [(_CRASHES, [Deed(name, Kind.CRASH)])]
        if node.writes:
            deeds.append((_FREE, [Deed(name, Kind.WRITTEN)]))
        if raft.role is Role.LEADER:
            entries = self.bounds.entries
            commands = [str(entries - left) for left in range(entries + 1)]
            deeds.append(
                (_RATION["entries"], [Deed(name, Kind.PROPOSE, each) for each in commands])
            )
            deeds.append((_RATION["heartbeats"], [Deed(name, Kind.HEARTBEAT)]))
            deeds.append((_RATION["resignations"], [Deed(name, Kind.RESIGN)]))
            wanted = ",".join(sorted(self.bounds.change_to))
            deeds.append((_RATION["changes"], [Deed(name, Kind.CHANGE, wanted)]))
            deeds += [
                (_RATION["transfers"], [Deed(name, Kind.TRANSFER, other)])
                for other in self.names
                if other != name
            ]
        elif raft.may_campaign and raft.term < self.term_max and raft.role is not Role.PRE_CANDIDATE:
            deeds.append((_FREE, [Deed(name, Kind.TIME_OUT)]))
        return [
            (ration, [self._number_input(deed) for deed in choices])
            for ration, choices in deeds
            if ration == _FREE or getattr(self.bounds, _RATIONS[ration])
        ]

    # -- letters and rations -----------------------------------------------------------------------

    def _number_input(self, what: Input) -> int:
        number = self._input_numbers.setdefault(what, len(self._inputs))
        if number == len(self._inputs):
            self._inputs.append(what)
            actor = what.receiver if isinstance(what, Letter) else what.node
            self._receiver.append(self._place[actor])
            is_vote = isinstance(what, Letter) and isinstance(what.message, VoteRequest | VoteReply)
            self._lasts.append(is_vote)
        return number

    def _loss_of(self, letter: int) -> int:
        """The input by which the sender notices that it got lost."""
        lost = self._inputs[letter]
        assert isinstance(lost, Letter)
        return self._number_input(Deed(lost.sender, Kind.UNREACHABLE, lost.receiver))

    def _is_dead(self, local: int, letter: int) -> bool:
        """Whether the letter means nothing to its receiver any more. Having no effect now is asked
        of the machine itself, lest a mistake in it be hidden."""
        known = self._dead[local]
        if letter not in known:
            found = self._inputs[letter]
            assert isinstance(found, Letter)
            void = _is_void(found.message, self._pictures[local])
            known[letter] = void and self._reaction(local, letter) is None
        return known[letter]

    def _number_rations(self, rations: tuple[int, ...]) -> int:
        number = self._ration_numbers.setdefault(rations, len(self._rations))
        if number == len(self._rations):
            self._rations.append(rations)
        return number

    def _spend(self, number: int, ration: int) -> int:
        if ration == _FREE:
            return number
        left = list(self._rations[number])
        left[ration] -= 1
        return self._number_rations(tuple(left))

    # -- for people --------------------------------------------------------------------------------

    @property
    def local_states(self) -> int:
        """How many ways for a node to be were met."""
        return len(self._nodes)

    def pictures(self, state: State) -> list[Picture]:
        """What the nodes look like in a state."""
        return [self._pictures[local] for local in state[: len(self.names)]]


def _is_void(message: OfRaft, receiver: Picture) -> bool:
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
    return False


def _text(what: Input) -> str:
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
