"""The facts of several nodes in one causal order.

A fact carries no vector clock and no hybrid stamp, only the wall time of the node that reported it,
and clocks differ. So the order follows from what must have come before what (Lamport 1978, *Time,
Clocks, and the Ordering of Events in a Distributed System*):

    a node's own facts          in the order of the steps that it took
    what the log says           in the order of its indexes, and before each node's word of it
    a claim in the store        before each other node's word of it
    a result                    before what the log says of it
    a failure, a lease's end    before the fence or the attempt that it led to, if nothing else did

These give each moment a vector clock (Fidge 1988; Mattern 1989). One is before another if its clock
is lower; if neither is, they are concurrent, as far as the facts tell: a fact that nobody has any
more may hide an order. Wall time orders only what is concurrent.

Invariant: a moment comes after all that caused it. Where facts contradict each other, as when a
clock was set back between two lives of a node, causes go before the node's own order.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from protocol.clocks import Order, VersionVector
from protocol.facts import Fact
from protocol.facts.work import (
    AnswerGiven,
    AnswersJudged,
    AttemptFailed,
    JobFinished,
    JobSubmitted,
    LeaseExpired,
    RaceEnded,
    ResultLate,
    ResultProposed,
    ResultReviewed,
    TaskAbandoned,
    TaskAccepted,
    TaskClaimed,
    TaskCloned,
    TaskCompleted,
    TaskFenced,
    TaskStarted,
)
from protocol.identity import NodeId

_NEVER = VersionVector()
LOG = "log"  # whose moments are the entries of the log, as if it were a node


@dataclass(frozen=True, slots=True)
class Report:
    """A fact as a node wrote it down. It happened `at_s` seconds after the epoch by its clock."""

    fact: Fact
    node: NodeId
    at_s: float


@dataclass(slots=True, eq=False)
class Moment:
    """Something that happened, at a node or in the log (`process`). `heard` has the nodes that
    reported it after it had come to them, and when by their clocks; of what the log says `at_s` is
    the first of these. `before` is the one before it in its process; `causes` are others'."""

    fact: Fact
    process: str
    at_s: float
    place: int
    before: Moment | None = None
    causes: list[Moment] = field(default_factory=list)
    heard: dict[NodeId, float] = field(default_factory=dict)
    is_word: bool = False  # of something that happened elsewhere
    is_hearsay: bool = False  # only others tell of it
    clock: VersionVector = _NEVER

    def is_concurrent_with(self, other: Moment) -> bool:
        """Whether neither is known to have come before the other."""
        return self.clock.compare(other.clock) is Order.CONCURRENT


class Claimed(NamedTuple):
    """Which claim: `races` if it is a race for somebody else's."""

    slot: int
    token: int
    node: NodeId
    races: bool = False


def index_of(fact: Fact) -> int:
    """Where the log says so; 0 if it does not."""
    match fact:
        case (
            JobSubmitted()
            | TaskClaimed()
            | TaskCloned()
            | RaceEnded()
            | TaskFenced()
            | ResultProposed()
            | ResultReviewed()
            | AnswerGiven()
            | AnswersJudged()
            | TaskAccepted()
            | ResultLate()
            | TaskAbandoned()
            | JobFinished()
        ):
            return fact.index
        case _:
            return 0


def in_causal_order(reports: Mapping[NodeId, Sequence[Report]]) -> list[Moment]:
    """What happened, causes first. `reports` are of one task, each node's in its order."""
    weaving = _Weaving()
    for node in sorted(reports):
        weaving.take(reports[node])
    weaving.tie_claims()
    weaving.tie_log()
    weaving.tie_consequences()
    return [moment for moment in _ordered(weaving.moments) if not moment.is_word]


class _Weaving:
    """Moments, and what ties them together."""

    def __init__(self) -> None:
        self.moments: list[Moment] = []
        self._own: list[Moment] = []  # without what is only a word
        self._log: dict[Fact, Moment] = {}
        self._claims: dict[Claimed, Moment] = {}
        self._words: dict[Claimed, list[Moment]] = {}

    def _add(self, fact: Fact, process: str, at_s: float, before: Moment | None = None) -> Moment:
        moment = Moment(fact, process, at_s, len(self.moments), before)
        self.moments.append(moment)
        return moment

    def take(self, reports: Iterable[Report]) -> None:
        """One node's."""
        last: Moment | None = None
        for report in reports:
            fact, node = report.fact, report.node
            moment = last = self._add(fact, node, report.at_s, last)
            if index_of(fact):
                entry = self._log.get(fact)
                if entry is None:
                    entry = self._log[fact] = self._add(fact, LOG, report.at_s)
                entry.at_s = min(entry.at_s, report.at_s)
                self._hear(moment, entry)
            elif isinstance(fact, TaskClaimed | TaskCloned):
                claim = Claimed(fact.slot, fact.token, fact.node, isinstance(fact, TaskCloned))
                self._words.setdefault(claim, []).append(moment)
            elif isinstance(fact, TaskStarted):
                claim = Claimed(fact.slot, fact.token, node, fact.races)
                self._claims.setdefault(claim, moment)

    def _hear(self, word: Moment, of: Moment) -> None:
        node = NodeId(word.process)
        word.is_word = True
        word.causes.append(of)
        of.heard[node] = min(word.at_s, of.heard.get(node, word.at_s))

    def tie_claims(self) -> None:
        """Each claim in the store happens where it was made: with the start of the agent, or by a
        word, as of a racer that takes the holder's place. If its node has nothing of it (any more),
        others' words have to do."""
        for claim, words in self._words.items():
            own = (word for word in words if word.process == claim.node)
            made = self._claims.get(claim) or next(own, None)
            if made is None:
                first = min(words, key=lambda word: word.at_s)
                made = self._add(first.fact, f"{claim.node} {claim.slot} {claim.token}", first.at_s)
                made.is_hearsay = True
            self._claims[claim] = made
            for word in words:
                if word is not made:
                    self._hear(word, made)
            made.heard.pop(claim.node, None)

    def tie_log(self) -> None:
        """Entry after entry. What one entry led to is in the order in which nodes reported it."""
        last: Moment | None = None
        for moment in sorted(
            self._log.values(), key=lambda each: (index_of(each.fact), each.place)
        ):
            moment.before = last
            last = moment

    def tie_consequences(self) -> None:
        """What the log says has come from somewhere, and so has a claim that follows another."""
        self._own = [moment for moment in self.moments if not moment.is_word]
        for moment in self._own:
            match moment.fact:
                case LeaseExpired(slot=slot, node=node, token=token):
                    claim = Claimed(slot, token, node)
                    if claim in self._words:  # else it is the log's, and may not have been begun
                        moment.causes.append(self._claims[claim])
                case (
                    ResultProposed()
                    | AnswerGiven()
                    | ResultReviewed()
                    | TaskAccepted()
                    | ResultLate()
                ):
                    moment.causes += self._results(moment.fact)
                case TaskFenced(slot=slot, token=token):
                    # Who asked for it is not told: it is known if only one had a reason.
                    reasons = self._expired(slot, token - 1) or self._failed(slot, token - 1)
                    moment.causes += reasons if len(reasons) == 1 else []
                case TaskStarted(slot=slot, token=token, races=False):
                    # Who follows a holder without having given up on it knows that it gave up.
                    is_forced = self._expired(slot, token - 1) or self._is_fenced(slot, token)
                    reasons = [] if is_forced else self._failed(slot, token - 1)
                    moment.causes += reasons if len(reasons) == 1 else []
                case _:
                    pass

    def _results(
        self, said: ResultProposed | AnswerGiven | ResultReviewed | TaskAccepted | ResultLate
    ) -> list[Moment]:
        """The ends of the attempt from which this result is."""
        found = []
        for moment in self._own:
            made = moment.fact
            if not isinstance(made, TaskCompleted) or moment.process != said.node:
                continue
            if isinstance(said, TaskAccepted | ResultLate):
                is_it = made.digest == said.digest
            else:
                is_it = made.slot == said.slot
            if is_it and made.token == said.token:
                found.append(moment)
        return found

    def _expired(self, slot: int, token: int) -> list[Moment]:
        """Those who gave up on the holder of this token."""
        return [
            moment
            for moment in self._own
            if isinstance(moment.fact, LeaseExpired)
            and (moment.fact.slot, moment.fact.token) == (slot, token)
        ]

    def _failed(self, slot: int, token: int) -> list[Moment]:
        """Ends of holders' attempts under this token that gave no result that counts."""
        return [
            moment
            for moment in self._own
            if (
                (isinstance(moment.fact, AttemptFailed) and not self._raced(moment))
                or (isinstance(moment.fact, ResultReviewed) and moment.fact.fault)
            )
            and (moment.fact.slot, moment.fact.token) == (slot, token)
        ]

    def _raced(self, moment: Moment) -> bool:
        """Whether it is about an attempt that only raced the holder's."""
        assert isinstance(moment.fact, AttemptFailed)
        node, slot, token = NodeId(moment.process), moment.fact.slot, moment.fact.token
        return Claimed(slot, token, node, races=True) in self._claims

    def _is_fenced(self, slot: int, token: int) -> bool:
        return any(
            isinstance(fact, TaskFenced) and (fact.slot, fact.token) == (slot, token)
            for fact in self._log
        )


def _ordered(moments: Sequence[Moment]) -> list[Moment]:
    """Causes first, the earlier by wall time first among what is free to come, each with its clock.
    Where all that is left waits for one another, what waits for its node's order only goes on."""
    followers: dict[int, list[Moment]] = {}
    waits = dict.fromkeys((moment.place for moment in moments), 0)
    for moment in moments:
        for earlier in _earlier(moment):
            followers.setdefault(earlier.place, []).append(moment)
            waits[moment.place] += 1
    free = [(each.at_s, each.place, each) for each in moments if not waits[each.place]]
    heapq.heapify(free)
    counts: dict[str, int] = {}
    placed: dict[int, Moment] = {}
    while len(placed) < len(moments):
        moment = heapq.heappop(free)[2] if free else _knot(moments, placed)
        if moment.place in placed:
            continue
        placed[moment.place] = moment
        number = counts[moment.process] = counts.get(moment.process, 0) + 1
        for earlier in _earlier(moment):
            moment.clock = moment.clock.merge(earlier.clock)
        moment.clock = moment.clock.advance(moment.process, number)
        for follower in followers.get(moment.place, ()):
            waits[follower.place] -= 1
            if not waits[follower.place]:
                heapq.heappush(free, (follower.at_s, follower.place, follower))
    return list(placed.values())


def _earlier(moment: Moment) -> list[Moment]:
    return [*moment.causes, *([moment.before] if moment.before else [])]


def _knot(moments: Sequence[Moment], placed: Mapping[int, Moment]) -> Moment:
    """The one to go on with where each waits for another."""
    left = [moment for moment in moments if moment.place not in placed]
    caused = [each for each in left if all(cause.place in placed for cause in each.causes)]
    return min(caused or left, key=lambda each: (each.at_s, each.place))
