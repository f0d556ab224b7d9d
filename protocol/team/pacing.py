"""Pacing: all nodes together ask a model no faster than its endpoint allows.

Each node has a token bucket (Turner 1986) for each endpoint, filled with its share of the limit;
shares follow demand, of which the nodes tell each other by gossip. The limit is what somebody
configured, or what a refusal (429) taught. A refusal that says when to come back stops everybody
until then; what it teaches is in `lessons`.

Invariant: while all nodes know each other's demand, the team begins no more calls than the limit
over time, and a node's bucket holds one call at most, so that there is no burst. Who has not asked
of late listens for a moment first: else all who begin together would each take the whole limit for
theirs. Then, and after a refusal, each takes its place in the team's round by its name, so that the
nodes' calls follow each other evenly, and they do while shares are steady. Nothing holds them there
against drift: in any one second a few more may begin, and a server that counts by single seconds
and lets nothing through at once refuses a few.

A node tells what it has met with itself and never what it has heard: two that repeat each other's
lessons keep them alive for ever. Of all lessons the lowest counts. How long to wait and how old a
lesson is are told as durations, for the nodes' clocks differ. Only of a word that was in the store
before this node asked there the age is estimated by the wall clock, and never below what the word
says; its author speaks again when the wait is over.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random

from protocol import codec
from protocol.clocks import MILLISECOND, SECOND, Alarm, Nanoseconds
from protocol.events import RETRY_MAX, RateLimited
from protocol.identity import NodeId
from protocol.store import Store, word_of
from protocol.team.lessons import (
    DECREASE,
    FORGET_AFTER,
    MILLI,
    NO_LESSON,
    SPAN_MIN,
    Lesson,
    lowest,
    served,
)
from protocol.team.view import View
from protocol.turn import Turn

PACE_PREFIX = "rate/"
WINDOW: Nanoseconds = 2 * SECOND  # in which calls count as demand
LISTEN: Nanoseconds = 50 * MILLISECOND  # enough for a word of everybody in one site
TELL_EVERY: Nanoseconds = SECOND // 2  # at most so often, but for the first word and a refusal
REPEAT_AFTER: Nanoseconds = 2 * WINDOW  # while there is demand, though it has not changed
FRESH: Nanoseconds = 5 * WINDOW  # how long a word about demand counts: two repetitions may be late
PAUSE: Nanoseconds = SECOND // 2  # at least, after a refusal: a server that is left alone so long
# has room for some calls again, so that the next chance crowd does not teach a limit
NEAR = 0.8  # of the limit that was configured
RECENT_MAX = 1_000  # calls


@dataclass(frozen=True, slots=True)
class Pace:
    """The value of `rate/ENDPOINT/NODE`: how much is asked there (see `_demand`); the limit
    that somebody configured, and the one that a refusal taught that node, in calls per 1,000 s (0:
    none). What follows is of that refusal, in milliseconds: when it was by the node's wall clock,
    for how long after it nobody shall ask, and how long ago it was when this was told."""

    node: NodeId
    demand: int
    configured: int
    learnt: int
    refused_at: int
    blocked_for: int
    refused_ago: int

    @property
    def is_over(self) -> bool:
        """Whether one might ask again."""
        return self.refused_ago >= self.blocked_for


@dataclass(slots=True)
class _Heard:
    """Another's word. `is_live`: it came by gossip, and did not lie in the store for long."""

    pace: Pace
    is_live: bool
    sequence: int
    at: Nanoseconds
    lesson: Lesson


@dataclass(slots=True)
class _Endpoint:
    """What this node knows of one endpoint. `own` is what it tells of its refusals."""

    configured: int = 0
    waiting: int = 0
    recent: list[tuple[Nanoseconds, int]] = field(default_factory=list)
    # when calls began, or will again; and how many waited then, these included
    listens_until: Nanoseconds = 0
    has_place: bool = True  # in the team's round
    level: float = 1.0  # of the bucket
    filled_at: Nanoseconds = 0
    lesson: Lesson = NO_LESSON
    refused_at: int = 0  # when that was taught, by the wall clock in milliseconds
    blocked_for: int = 0  # from then on, in milliseconds
    blocked_until: Nanoseconds = 0  # whoever said so
    told: Pace | None = None
    told_at: Nanoseconds = 0
    is_urgent: bool = False  # to tell
    heard: dict[NodeId, _Heard] = field(default_factory=dict)


class Pacing:
    """The buckets of one node."""

    def __init__(self, node: NodeId, store: Store, random: Random, alarm: Alarm) -> None:
        self.node = node
        self._store = store
        self._random = random
        self._alarm = alarm
        self._endpoints: dict[str, _Endpoint] = {}  # that were asked here
        self._asked_earlier: dict[str, None] = {}  # in an earlier life
        self._alive = frozenset({node})  # when a call was last to begin

    def learn(self, turn: Turn | None, key: str) -> bool:
        """Take note of another node's word on an endpoint that is asked here; whether it is news.
        There is no turn at the start: what the store has brought back is read when it is needed."""
        parts = key.split("/")
        if len(parts) != 3:
            return False
        endpoint = self._endpoints.get(parts[1])
        if parts[2] == self.node:
            if turn is None and endpoint is None:
                self._asked_earlier[parts[1]] = None
            return False
        if turn is None or endpoint is None:
            return False
        return self._hear(turn, endpoint, key, is_live=True)

    def _open(self, turn: Turn, name: str) -> _Endpoint:
        """The endpoint; at first with what was said of it before it was asked here."""
        endpoint = self._endpoints.get(name)
        if endpoint is None:
            endpoint = self._endpoints[name] = _Endpoint()
            for key in self._store.scan(f"{PACE_PREFIX}{name}/"):
                self._hear(turn, endpoint, key, is_live=False)
        return endpoint

    def _hear(self, turn: Turn, endpoint: _Endpoint, key: str, is_live: bool) -> bool:
        author = NodeId(key.rpartition("/")[2])
        found = word_of(author, self._store.read(key), Pace)
        if found is None:
            return endpoint.heard.pop(author, None) is not None
        said, sequence = found
        before = endpoint.heard.get(author)
        if before is not None and before.sequence == sequence:
            return False
        pace = replace(said, demand=min(said.demand, RECENT_MAX))
        if before is not None and before.is_live and before.pace.refused_at == pace.refused_at:
            lesson = before.lesson  # told again, and no younger for that
        else:
            lesson = self._lesson(turn, endpoint, pace, is_live)
        self._block(endpoint, lesson.at, turn.now)
        if author == self.node:  # in an earlier life
            endpoint.lesson, endpoint.told = lesson, said
            endpoint.refused_at, endpoint.blocked_for = pace.refused_at, pace.blocked_for
        else:
            endpoint.heard[author] = _Heard(pace, is_live, sequence, turn.now, lesson)
        return True

    def _lesson(self, turn: Turn, endpoint: _Endpoint, pace: Pace, is_live: bool) -> Lesson:
        """What another's word teaches. To look for its span takes a pass over all words, and there
        is one only if it tells of a refusal just now."""
        at = turn.now + _left_of(pace, turn.wall, is_live)
        wait = min(pace.blocked_for * MILLISECOND, RETRY_MAX)
        is_new = is_live and pace.learnt > 0 and at >= turn.now
        span = self._span(endpoint, pace.learnt / MILLI, at - wait) if is_new else FORGET_AFTER
        return Lesson(pace.learnt, at, wait, span)

    def refused(self, turn: Turn, event: RateLimited) -> None:
        """The endpoint said 429: everybody slows down."""
        now, endpoint = turn.now, self._open(turn, event.endpoint)
        rate = self._served(endpoint, now)
        span = self._span(endpoint, rate, now)
        if span >= SPAN_MIN:
            rate *= DECREASE
        # An answer that was under way may ask for less than the one before it.
        wait = max(PAUSE, min(RETRY_MAX, event.retry_after_ns), endpoint.lesson.at - now)
        endpoint.blocked_for = -(-wait // MILLISECOND)
        endpoint.lesson = Lesson(max(1, int(rate * MILLI)), now + wait, wait, span)
        endpoint.refused_at = max(endpoint.refused_at + 1, turn.wall // MILLISECOND)
        self._block(endpoint, now + wait, now)
        endpoint.recent.append((now + wait, 1))
        endpoint.is_urgent = True

    def _served(self, endpoint: _Endpoint, now: Nanoseconds) -> float:
        """How many calls a second the endpoint takes, now that it has refused one."""
        own = sum(now - SECOND < at <= now for at, _ in endpoint.recent)
        asked = own + sum(word.pace.demand for word in self._fresh(endpoint, now))
        ceiling = self._ceiling(endpoint)
        lessons = self._lessons(endpoint, now)
        if not lessons:
            guess = max(1.0, asked)
            return guess if ceiling is None else min(guess, ceiling * DECREASE)
        last = max(lessons, key=lambda each: each.at)
        if not any(last.at < at <= now for at, _ in endpoint.recent):
            return lowest(lessons, ceiling, now)  # that call began before
        return served(lessons, ceiling, asked, now)

    def _span(self, endpoint: _Endpoint, rate: float, refused_at: Nanoseconds) -> Nanoseconds:
        """How long calls were made since an earlier lesson. The first is but a guess, for it does
        not tell how much the endpoint takes at once; and what comes near to the limit that was
        configured is an accident, after which one may soon be back there."""
        ceiling = self._ceiling(endpoint)
        lessons = self._lessons(endpoint, refused_at)
        earlier = [each.at for each in lessons if each.at < refused_at]
        if not earlier or (ceiling is not None and rate >= NEAR * ceiling):
            return 0
        return refused_at - max(earlier)

    def _lessons(self, endpoint: _Endpoint, now: Nanoseconds) -> list[Lesson]:
        known = (endpoint.lesson, *(word.lesson for word in endpoint.heard.values()))
        return [lesson for lesson in known if lesson.holds(now)]

    def _block(self, endpoint: _Endpoint, until: Nanoseconds, now: Nanoseconds) -> None:
        """Nobody asks until then, and then not everybody at once."""
        if until > endpoint.blocked_until and until > now:
            endpoint.blocked_until, endpoint.has_place = until, False

    # -- calls ---------------------------------------------------------------------------------

    def waits(self, turn: Turn, name: str, configured: int) -> None:
        """One more call waits for the endpoint."""
        endpoint = self._open(turn, name)
        endpoint.configured = configured
        if not self._demand(endpoint, turn.now):
            endpoint.listens_until, endpoint.has_place = turn.now + LISTEN, False
        endpoint.waiting += 1

    def leaves(self, name: str) -> None:
        """One that waited does not any more."""
        self._endpoints[name].waiting -= 1

    def admits(self, now: Nanoseconds, view: View, name: str) -> bool:
        """Whether a call may begin now; if not, the alarm rings when it may."""
        endpoint, self._alive = self._endpoints[name], view.alive
        if now < endpoint.blocked_until:
            self._alarm.ask(endpoint.blocked_until)
            return False
        limit = self._limit(endpoint, now)
        if limit is None:  # if one is heard of, each takes its place in the round from now on
            endpoint.listens_until, endpoint.has_place = max(endpoint.listens_until, now), False
            return True
        part = self._share(endpoint, now)
        if not endpoint.has_place:
            if now < endpoint.listens_until:
                self._alarm.ask(endpoint.listens_until)
                return False
            endpoint.has_place = True
            endpoint.level = 1.0 if part == 1.0 else self._place(endpoint, now)
            endpoint.filled_at = max(endpoint.listens_until, endpoint.blocked_until)
        share = max(limit * part, 1 / MILLI)
        self._fill(endpoint, now, share)
        if endpoint.level >= 1.0:
            return True
        self._alarm.ask(now + int((1.0 - endpoint.level) / share * SECOND) + 1)
        return False

    def begins(self, name: str, now: Nanoseconds) -> None:
        """A call that was admitted begins."""
        endpoint = self._endpoints[name]
        endpoint.recent.append((now, endpoint.waiting + 1))
        del endpoint.recent[:-RECENT_MAX]
        endpoint.level = max(0.0, endpoint.level - 1.0)
        endpoint.filled_at = max(endpoint.filled_at, now)

    def spares(self, name: str) -> None:
        """One that was to begin did not after all: another may."""
        endpoint = self._endpoints[name]
        endpoint.level = min(1.0, endpoint.level + 1.0)

    def _fill(self, endpoint: _Endpoint, now: Nanoseconds, share: float) -> None:
        passed = max(0, now - endpoint.filled_at) / SECOND
        endpoint.level = min(1.0, endpoint.level + passed * share)
        endpoint.filled_at = max(endpoint.filled_at, now)

    def _limit(self, endpoint: _Endpoint, now: Nanoseconds) -> float | None:
        """Calls a second of the whole team; None if nobody knows of a limit."""
        lessons, ceiling = self._lessons(endpoint, now), self._ceiling(endpoint)
        return None if not lessons and ceiling is None else lowest(lessons, ceiling, now)

    def _ceiling(self, endpoint: _Endpoint) -> float | None:
        """What was configured, here or at a node that is there."""
        words = endpoint.heard.values()
        there = [word.pace.configured for word in words if word.pace.node in self._alive]
        limits = [each / MILLI for each in (endpoint.configured, *there) if each]
        return min(limits, default=None)

    def _share(self, endpoint: _Endpoint, now: Nanoseconds) -> float:
        """This node's part of the limit, by what waits and has begun of late here and elsewhere."""
        own = max(1, self._demand(endpoint, now))
        return own / (own + sum(self._others(endpoint, now).values()))

    def _place(self, endpoint: _Endpoint, now: Nanoseconds) -> float:
        """Where this node stands in the team's round, from 0 to 1: all begin evenly, and not as
        chance would bunch them."""
        own, others = max(1, self._demand(endpoint, now)), self._others(endpoint, now)
        before = sum(demand for node, demand in others.items() if node < self.node)
        return (before + own * self._random.random()) / own * self._share(endpoint, now)

    def _others(self, endpoint: _Endpoint, now: Nanoseconds) -> dict[NodeId, int]:
        """What each of the others asks for that is there."""
        fresh = self._fresh(endpoint, now)
        return {each.pace.node: each.pace.demand for each in fresh if each.pace.node in self._alive}

    def _fresh(self, endpoint: _Endpoint, now: Nanoseconds) -> list[_Heard]:
        return [word for word in endpoint.heard.values() if now < word.at + FRESH]

    def _demand(self, endpoint: _Endpoint, now: Nanoseconds) -> int:
        """How many agents want to call, or how many calls a second they make if that is more. It
        must be steady: where shares change all the time, the nodes' calls bunch."""
        endpoint.recent = [each for each in endpoint.recent if each[0] > now - WINDOW]
        agents = max((number for _, number in endpoint.recent), default=0)
        calls = (endpoint.waiting + len(endpoint.recent)) * SECOND // WINDOW
        return min(max(endpoint.waiting, agents, calls), RECENT_MAX)

    # -- telling -------------------------------------------------------------------------------

    def tell(self, turn: Turn) -> None:
        """Let the others know how much is asked here, if that has changed or they might forget it,
        and of refusals. What an earlier life has said and is no more so is taken back."""
        for name in self._asked_earlier:
            self._open(turn, name)
        self._asked_earlier.clear()
        for name, endpoint in self._endpoints.items():
            pace = self._pace(endpoint, turn.now)
            if not pace.is_over:
                self._alarm.ask(endpoint.lesson.at)  # who comes later need not wait then
            if pace.demand:
                self._alarm.ask(turn.now + WINDOW)  # by then it may be less
            due = self._due(endpoint, pace, turn.now)
            if due is not None and turn.now < due:
                self._alarm.ask(due)
            elif due is not None:
                endpoint.told, endpoint.told_at, endpoint.is_urgent = pace, turn.now, False
                turn.write(f"{PACE_PREFIX}{name}/{self.node}", codec.pack_value(pace))

    def _pace(self, endpoint: _Endpoint, now: Nanoseconds) -> Pace:
        learnt = endpoint.lesson.rate
        return Pace(
            self.node,
            self._demand(endpoint, now),
            endpoint.configured,
            learnt,
            endpoint.refused_at,
            endpoint.blocked_for,
            endpoint.blocked_for + (now - endpoint.lesson.at) // MILLISECOND if learnt else 0,
        )

    def _due(self, endpoint: _Endpoint, pace: Pace, now: Nanoseconds) -> Nanoseconds | None:
        """When that is to be told; None if it need not be."""
        told = endpoint.told
        if endpoint.is_urgent or bool(told and told.demand) != bool(pace.demand):
            return now
        if told is None:
            return None
        is_same = told.is_over == pace.is_over and told == replace(
            pace, refused_ago=told.refused_ago
        )
        if is_same and not pace.demand:
            return None
        return endpoint.told_at + (REPEAT_AFTER if is_same else TELL_EVERY)


def _left_of(pace: Pace, wall: Nanoseconds, is_live: bool) -> Nanoseconds:
    """For how long nobody shall ask, by another's word; below 0: for so long one might have. What
    lay in the store may be older than it says."""
    age = max(0, pace.refused_ago * MILLISECOND)
    if not is_live:
        age = max(age, wall - pace.refused_at * MILLISECOND)
    return max(min(pace.blocked_for * MILLISECOND, RETRY_MAX) - age, -FORGET_AFTER)
