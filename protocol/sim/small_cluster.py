"""A tiny cluster as a graph of states, and the moves between them.

A state is a tuple of numbers: for each node the number of its local state, then the number of what
is left of the rations, of the history, how many nodes have acted, and the letters on their way as
a sorted multiset. What a node does depends on its local state and the input only, and is looked up
in `small_reactions`; all else is arithmetic on tuples.

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
from dataclasses import dataclass

from protocol.messages.agreement import VoteReply
from protocol.raft import Raft
from protocol.sim.small_bounds import DROPS, DUPLICATES, FREE, Bounds
from protocol.sim.small_history import History, Picture, check_claim, compare, follow
from protocol.sim.small_node import Broken, Input, Letter
from protocol.sim.small_reactions import Reaction, Reactions, text_of

State = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Move:
    """How one state becomes another."""

    what: Input
    manner: str = ""

    def __str__(self) -> str:
        return f"{text_of(self.what)}{self.manner}"


class Violation(Exception):
    """A move from a state breaks an invariant."""

    def __init__(self, broken: Broken, move: Move) -> None:
        super().__init__(f"{broken.invariant}: {broken.detail}")
        self.broken = broken
        self.move = move


class SmallCluster:
    """See the module's text. `invariants`: the names of those that count; all, if it is None. Not
    `reduced`, it goes the long way, to show that the short one gets everywhere."""

    def __init__(
        self,
        bounds: Bounds,
        machine: type[Raft] = Raft,
        invariants: frozenset[str] | None = None,
        reduced: bool = True,
    ) -> None:
        self.bounds = bounds
        self.invariants = invariants
        self.reactions = Reactions(bounds, machine, reduced)
        self._size = bounds.nodes
        self._rations: list[tuple[int, ...]] = []
        self._ration_numbers: dict[tuple[int, ...], int] = {}
        self._histories = [History()]
        self._history_numbers = {History(): 0}
        self._followed: dict[tuple[int, int], tuple[int, list[Broken]]] = {}
        self._answered: dict[int, int] = {}  # an answer that cost nothing, and to what
        self._matching: dict[tuple[int, int], Broken | None] = {}
        awake = 0 if reduced and bounds.starts_alike else bounds.nodes
        rations = self._number_rations(bounds.rations)
        self.first: State = (*self.reactions.begin(), rations, 0, awake)

    def pictures(self, state: State) -> list[Picture]:
        """What the nodes look like in a state."""
        return [self.reactions.pictures[local] for local in state[: self._size]]

    # -- moves -----------------------------------------------------------------------------------

    def moves(self, state: State) -> Iterator[State]:
        """All states one move away, some of them more than once. Violation if one is illegal."""
        for successor, _, _ in self._moves(state):
            yield successor

    def move_between(self, state: State, successor: State) -> Move:
        """The move that leads from one to the other."""
        for found, what, manner in self._moves(state):
            if found == successor:
                inputs = self.reactions.inputs
                if what in self._answered:
                    manner += f" (at once, to {text_of(inputs[self._answered[what]])})"
                return Move(inputs[what], manner)
        raise AssertionError("there is no such move")

    def _moves(self, state: State) -> Iterator[tuple[State, int, str]]:
        size = self._size
        left_number = state[size]
        left = self._rations[left_number]
        letters = state[size + 3 :]
        acting = min(size, state[size + 2] + 1)
        for at in range(acting):
            for ration, numbers in self.reactions.deeds[state[at]]:
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
        reactions = self.reactions
        left_number, awake = state[self._size], state[self._size + 2]
        left = self._rations[left_number]
        before = -1
        for place, letter in enumerate(letters):
            if letter == before:
                continue
            before = letter
            at = reactions.receiver[letter]
            lasts = reactions.lasts[letter]
            if lasts and at < awake and reactions.answers(state[at], letter):
                continue  # that is done already
            others = letters if lasts else self._without(letters, place)
            if at < acting:
                found = self._next(state, at, letter, others, left_number, "")
                if found is not None:
                    yield found, letter, ""
                if left[DUPLICATES] and not lasts:
                    rest = self._spend(left_number, DUPLICATES)
                    manner = " (and once more, later)"
                    found = self._next(state, at, letter, letters, rest, manner)
                    if found is not None:
                        yield found, letter, manner
            if left[DROPS]:
                rest = self._spend(left_number, DROPS)
                what = reactions.loss_of(letter)
                manner = f" (lost: {text_of(reactions.inputs[letter])})"
                others = letters[:place] + letters[place + 1 :]
                found = self._next(state, reactions.receiver[what], what, others, rest, manner)
                if found is not None:
                    yield found, what, manner

    def _without(self, letters: State, place: int) -> State:
        """The other letters, without those that this one overtakes if that means to lose them."""
        rank = self.reactions.rank
        mine = rank[letters[place]]
        others = letters[:place] + letters[place + 1 :]
        if mine is None:
            return others
        kept = []
        for letter in others:
            other = rank[letter]
            if other is None or other[0] != mine[0] or other[1] >= mine[1]:
                kept.append(letter)
        return tuple(kept)

    def _next(
        self, state: State, at: int, what: int, letters: State, rations: int, manner: str
    ) -> State | None:
        """The state after node number `at` has taken an input; None if nothing comes of it."""
        local = state[at]
        reaction = self.reactions.reaction(local, what)
        if reaction is None:
            return None
        size = self._size
        nodes = list(state[:size])
        nodes[at] = reaction.local
        history = state[size + 1]
        if reaction.local != local or reaction.is_telling:
            history, broken = self._judge(history, nodes, at, reaction)
            if broken is not None:
                raise Violation(broken, Move(self.reactions.inputs[what], manner))
        awake = max(state[size + 2], at + 1)
        mail = self._mail(letters, reaction, at, nodes, awake)
        return (*nodes, rations, history, awake, *mail)

    def _mail(
        self, letters: State, reaction: Reaction, at: int, nodes: list[int], awake: int
    ) -> list[int]:
        """What is on its way once number `at` has reacted: without what has become void, and with
        the answers that cost nothing, of nodes that have acted before."""
        receiver, lasts = self.reactions.receiver, self.reactions.lasts
        is_void, local = self.reactions.is_void, reaction.local
        mail = [each for each in letters if receiver[each] != at or not is_void(local, each)]
        changed = [each for each in mail if receiver[each] == at and lasts[each]]
        if reaction.sent:
            self._post(mail, changed, reaction.sent, nodes)
        while changed:
            letter = changed.pop()
            to = receiver[letter]
            if to < awake:
                answers = self.reactions.answers(nodes[to], letter)
                if answers:
                    self._post(mail, changed, answers, nodes)
                    self._note(letter, answers)
        mail.sort()
        return mail

    def _post(
        self, mail: list[int], changed: list[int], sent: tuple[int, ...], nodes: list[int]
    ) -> None:
        """Add what is sent, unless it is void, or lasts and is there already."""
        for letter in sent:
            lasts = self.reactions.lasts[letter]
            if lasts and letter in mail:
                continue
            if not self.reactions.is_void(nodes[self.reactions.receiver[letter]], letter):
                mail.append(letter)
                if lasts:
                    changed.append(letter)

    def _note(self, letter: int, answers: tuple[int, ...]) -> None:
        """Remember what was answered without a move, to tell it: all but votes, which were given
        in a move before."""
        for answer in answers:
            found = self.reactions.inputs[answer]
            assert isinstance(found, Letter)
            match found.message:
                case VoteReply(granted=True, pre=False):
                    pass
                case _:
                    self._answered.setdefault(answer, letter)

    # -- what must hold ----------------------------------------------------------------------------

    def _judge(
        self, history: int, nodes: list[int], at: int, reaction: Reaction
    ) -> tuple[int, Broken | None]:
        """The history after node number `at` has reacted, and the first thing that is broken."""
        found: list[Broken | None] = list(reaction.broken)
        if reaction.claims:
            pictures = [self.reactions.pictures[local] for local in nodes]
            found += [check_claim(claim, pictures) for claim in reaction.claims]
        found += [self._compare(nodes[at], local) for local in nodes]
        after, news = self._followed_by(history, nodes[at])
        found += news
        if after != history:  # the others are judged by it too
            for local in nodes:
                after, news = self._followed_by(after, local)
                found += news
        for broken in found:
            if broken is not None and (
                self.invariants is None or broken.invariant in self.invariants
            ):
                return after, broken
        return after, None

    def _compare(self, one: int, other: int) -> Broken | None:
        pair = (self.reactions.log_of[one], self.reactions.log_of[other])
        if pair not in self._matching:
            pictures = self.reactions.pictures
            self._matching[pair] = compare(pictures[one].log, pictures[other].log)
        return self._matching[pair]

    def _followed_by(self, history: int, local: int) -> tuple[int, list[Broken]]:
        key = (history, local)
        if key not in self._followed:
            found, broken = follow(self._histories[history], self.reactions.pictures[local])
            number = self._history_numbers.setdefault(found, len(self._histories))
            if number == len(self._histories):
                self._histories.append(found)
            self._followed[key] = (number, broken)
        return self._followed[key]

    # -- rations -----------------------------------------------------------------------------------

    def _number_rations(self, rations: tuple[int, ...]) -> int:
        number = self._ration_numbers.setdefault(rations, len(self._rations))
        if number == len(self._rations):
            self._rations.append(rations)
        return number

    def _spend(self, number: int, ration: int) -> int:
        if ration == FREE:
            return number
        left = list(self._rations[number])
        left[ration] -= 1
        return self._number_rations(tuple(left))
