"""Pacing: all nodes together ask a model no faster than its endpoint allows.

Each node has a token bucket (Turner 1986) for each endpoint, filled with its share of the limit;
shares follow demand, of which the nodes tell each other by gossip. The limit is what somebody
configured, or what a refusal (429) taught: then it is a share of what the team had asked in the
second before, and grows again until the next refusal (AIMD; Chiu and Jain 1989). A refusal that
says when to come back stops everybody until then.

Invariant: while all nodes know each other's demand, the team begins no more calls a second than
the limit, and a node's bucket holds one call at most, so that there is no burst. Who has not asked
of late listens for a moment first, and what was refused counts as demand until it is asked again:
else all who begin together would each take the whole limit for theirs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from protocol import codec
from protocol.clocks import MILLISECOND, SECOND, Alarm, Nanoseconds
from protocol.events import RateLimited
from protocol.identity import NodeId
from protocol.store import Store, word_of
from protocol.team.view import View
from protocol.turn import Turn

PACE_PREFIX = "rate/"
MARGIN = 0.97  # of the limit: clocks and news are never quite right
WINDOW: Nanoseconds = 2 * SECOND  # in which calls count as demand
LISTEN: Nanoseconds = 50 * MILLISECOND  # enough for a word of everybody in one site
TELL_EVERY: Nanoseconds = SECOND // 2  # at most so often, but for the first word and a refusal
DECREASE = 0.8  # of what was asked in the second before a refusal
INCREASE = 0.05  # of that, each second without another
FORGET_AFTER: Nanoseconds = 60 * SECOND  # without a refusal there is no limit any more
RETRY_MAX: Nanoseconds = 60 * SECOND  # however long an endpoint wants to be left alone
RECENT_MAX = 1_000  # calls
MILLI = 1_000


@dataclass(frozen=True, slots=True)
class Pace:
    """The value of `rate/ENDPOINT/NODE`: how many calls wait there or have begun of late; the limit
    that somebody configured, and the one that a refusal taught it, in calls per 1,000 s (0: none);
    and for how many milliseconds more nobody shall ask."""

    node: NodeId
    demand: int
    configured: int
    learnt: int
    blocked_ms: int


@dataclass(slots=True)
class _Heard:
    pace: Pace
    sequence: int
    at: Nanoseconds


@dataclass(slots=True)
class _Endpoint:
    """What this node knows of one endpoint."""

    configured: int = 0
    waiting: int = 0
    recent: list[Nanoseconds] = field(default_factory=list)  # when calls began, or will again
    listens_until: Nanoseconds = 0
    has_listened: bool = True
    level: float = 1.0  # of the bucket
    filled_at: Nanoseconds = 0
    learnt: int = 0
    learnt_at: Nanoseconds = 0
    blocked_until: Nanoseconds = 0
    told: Pace | None = None
    told_at: Nanoseconds = 0
    heard: dict[NodeId, _Heard] = field(default_factory=dict)


class Pacing:
    """The buckets of one node."""

    def __init__(self, node: NodeId, store: Store, random: Random, alarm: Alarm) -> None:
        self.node = node
        self._store = store
        self._random = random
        self._alarm = alarm
        self._endpoints: dict[str, _Endpoint] = {}

    def learn(self, key: str, now: Nanoseconds) -> bool:
        """Take note of another node's demand; whether it is news."""
        parts = key.split("/")
        if len(parts) != 3 or parts[2] == self.node:
            return False
        found = word_of(NodeId(parts[2]), self._store.read(key), Pace)
        if found is None:
            return False
        pace, sequence = found
        endpoint = self._endpoints.setdefault(parts[1], _Endpoint())
        before = endpoint.heard.get(pace.node)
        if before is not None and before.sequence == sequence:
            return False
        endpoint.heard[pace.node] = _Heard(pace, sequence, now)
        if pace.blocked_ms:
            until = now + min(RETRY_MAX, pace.blocked_ms * MILLISECOND)
            self._block(endpoint, until, now)
        if pace.learnt and (before is None or before.pace.learnt != pace.learnt):
            endpoint.learnt, endpoint.learnt_at = pace.learnt, now
        return True

    def refused(self, event: RateLimited, now: Nanoseconds) -> None:
        """The endpoint said 429: everybody slows down."""
        endpoint = self._endpoints.setdefault(event.endpoint, _Endpoint())
        rate = sum(now - SECOND < at <= now for at in endpoint.recent)
        others = sum(heard.pace.demand for heard in self._fresh(endpoint, now))
        team = max(1.0, rate + others * SECOND / WINDOW)
        endpoint.learnt, endpoint.learnt_at = max(1, int(team * DECREASE * MILLI)), now
        until = now + min(RETRY_MAX, event.retry_after_ns)
        self._block(endpoint, until, now)
        endpoint.recent.append(until)
        endpoint.told_at = 0  # tell it at once

    def _block(self, endpoint: _Endpoint, until: Nanoseconds, now: Nanoseconds) -> None:
        """Nobody asks until then, and then not everybody at once."""
        if until > endpoint.blocked_until and until > now:
            endpoint.blocked_until = until
            endpoint.level = min(endpoint.level, self._random.random())
            endpoint.filled_at = until

    # -- calls ---------------------------------------------------------------------------------

    def waits(self, now: Nanoseconds, name: str, configured: int) -> None:
        """One more call waits for the endpoint."""
        endpoint = self._endpoints.setdefault(name, _Endpoint())
        endpoint.configured = configured
        if not self._demand(endpoint, now):
            endpoint.listens_until, endpoint.has_listened = now + LISTEN, False
        endpoint.waiting += 1

    def leaves(self, name: str) -> None:
        """One that waited does not any more."""
        self._endpoints[name].waiting -= 1

    def admits(self, now: Nanoseconds, view: View, name: str) -> bool:
        """Whether a call may begin now; if not, the alarm rings when it may."""
        endpoint = self._endpoints[name]
        if now < endpoint.blocked_until:
            self._alarm.ask(endpoint.blocked_until)
            return False
        limit = self._limit(endpoint, now)
        if limit is None:
            return True
        part = self._share(endpoint, view, now)
        if not endpoint.has_listened:
            if now < endpoint.listens_until:
                self._alarm.ask(endpoint.listens_until)
                return False
            endpoint.has_listened = True
            endpoint.level = 1.0 if part == 1.0 else self._random.random()
            endpoint.filled_at = now
        share = max(limit * MARGIN * part, 1 / MILLI)
        self._fill(endpoint, now, share)
        if endpoint.level >= 1.0:
            return True
        self._alarm.ask(now + int((1.0 - endpoint.level) / share * SECOND) + 1)
        return False

    def begins(self, name: str, now: Nanoseconds) -> None:
        """A call that was admitted begins."""
        endpoint = self._endpoints[name]
        endpoint.recent.append(now)
        del endpoint.recent[:-RECENT_MAX]
        endpoint.level = max(0.0, endpoint.level - 1.0)
        endpoint.filled_at = max(endpoint.filled_at, now)

    def _fill(self, endpoint: _Endpoint, now: Nanoseconds, share: float) -> None:
        passed = max(0, now - endpoint.filled_at) / SECOND
        endpoint.level = min(1.0, endpoint.level + passed * share)
        endpoint.filled_at = max(endpoint.filled_at, now)

    def _limit(self, endpoint: _Endpoint, now: Nanoseconds) -> float | None:
        """Calls a second of the whole team; None if nobody knows of a limit."""
        configured = [endpoint.configured] + [h.pace.configured for h in endpoint.heard.values()]
        limits = [each / MILLI for each in configured if each]
        if endpoint.learnt and now < endpoint.learnt_at + FORGET_AFTER:
            grown = 1.0 + INCREASE * (now - endpoint.learnt_at) / SECOND
            limits.append(endpoint.learnt / MILLI * grown)
        return min(limits, default=None)

    def _share(self, endpoint: _Endpoint, view: View, now: Nanoseconds) -> float:
        """This node's part of the limit, by what waits and has begun of late here and elsewhere."""
        own = max(1, self._demand(endpoint, now))
        others = sum(
            heard.pace.demand
            for heard in self._fresh(endpoint, now)
            if heard.pace.node in view.alive
        )
        return own / (own + others)

    def _fresh(self, endpoint: _Endpoint, now: Nanoseconds) -> list[_Heard]:
        return [heard for heard in endpoint.heard.values() if now < heard.at + 5 * WINDOW]

    def _demand(self, endpoint: _Endpoint, now: Nanoseconds) -> int:
        endpoint.recent = [at for at in endpoint.recent if at > now - WINDOW]
        return endpoint.waiting + len(endpoint.recent)

    # -- telling -------------------------------------------------------------------------------

    def tell(self, turn: Turn) -> None:
        """Let the others know how much is asked here, if that has changed, and of refusals."""
        for name, endpoint in self._endpoints.items():
            blocked = max(0, endpoint.blocked_until - turn.now) // MILLISECOND
            demand = self._demand(endpoint, turn.now)
            learnt = endpoint.learnt if turn.now < endpoint.learnt_at + FORGET_AFTER else 0
            pace = Pace(self.node, demand, endpoint.configured, learnt, 0)
            told = endpoint.told
            if told is not None and pace == told:
                continue
            first = told is None or (told.demand == 0) != (demand == 0)
            due = endpoint.told_at + TELL_EVERY
            if not first and turn.now < due and endpoint.told_at:
                self._alarm.ask(due)
                continue
            if told is None and demand == 0 and not learnt:
                continue
            endpoint.told, endpoint.told_at = pace, turn.now
            if demand:
                self._alarm.ask(turn.now + WINDOW)  # by then it may be less
            said = Pace(self.node, demand, endpoint.configured, learnt, blocked)
            turn.write(f"{PACE_PREFIX}{name}/{self.node}", codec.pack_value(said))
