"""Many nodes' pacing and no more of them, in virtual time: agents that ask again as soon as they
have been answered, words that take a moment, and servers that count calls in several ways."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, cast

from protocol.clocks import MILLISECOND, SECOND, Alarm, Nanoseconds
from protocol.events import RateLimited
from protocol.identity import NodeId
from protocol.store import Store
from protocol.team.pacing import Pacing
from protocol.team.view import View
from protocol.turn import Turn

WALL = 10**9 * SECOND
ENDPOINT = "model"


class TokenBucket:
    """A server that holds so many seconds' calls ready."""

    def __init__(self, rate: float, burst_s: float = 1.0) -> None:
        self._rate = rate
        self._size = self._left = max(1.0, rate * burst_s)
        self._at: Nanoseconds = 0

    def wait(self, now: Nanoseconds) -> Nanoseconds:
        """0 if it takes a call now, which then counts; else until when it does not."""
        self._left = min(self._size, self._left + (now - self._at) / SECOND * self._rate)
        self._at = now
        if self._left >= 1.0:
            self._left -= 1.0
            return 0
        return int((1.0 - self._left) / self._rate * SECOND) + 1


class FixedWindow:
    """A server that counts anew at every full window."""

    def __init__(self, rate: float, window: Nanoseconds) -> None:
        self._most = round(rate * window / SECOND)
        self._window = window
        self._number = self._count = 0

    def wait(self, now: Nanoseconds) -> Nanoseconds:
        """As above."""
        number = now // self._window
        if number != self._number:
            self._number, self._count = number, 0
        if self._count < self._most:
            self._count += 1
            return 0
        return (number + 1) * self._window - now


class SlidingWindow:
    """A server that looks at all calls it took in the window before."""

    def __init__(self, rate: float, window: Nanoseconds) -> None:
        self._most = round(rate * window / SECOND)
        self._window = window
        self._taken: list[Nanoseconds] = []

    def wait(self, now: Nanoseconds) -> Nanoseconds:
        """As above."""
        self._taken = [at for at in self._taken if at > now - self._window]
        if len(self._taken) < self._most:
            self._taken.append(now)
            return 0
        return self._taken[0] + self._window - now


Server = TokenBucket | FixedWindow | SlidingWindow


@dataclass(frozen=True, slots=True)
class _Said:
    """A word in a store, as its reader sees it."""

    author: NodeId
    value: bytes
    sequence: int


class _Shelf:
    """What a node has heard: all of the store that pacing reads."""

    def __init__(self) -> None:
        self.words: dict[str, _Said] = {}

    def read(self, key: str) -> tuple[_Said, ...]:
        return (self.words[key],) if key in self.words else ()

    def scan(self, prefix: str) -> list[str]:
        return sorted(key for key in self.words if key.startswith(prefix))


class _Node:
    def __init__(self, node: NodeId, seed: str, said: int) -> None:
        self.node = node
        self.said = said  # to it, of the limit
        self.shelf = _Shelf()
        self.alarm = Alarm()
        self.machine = Pacing(node, cast(Store, self.shelf), Random(seed), self.alarm)
        self.waiting = 0
        self.sequence = 0
        self.rings_at: Nanoseconds | None = None


class Crowd:
    """`size` nodes with `slots` agents each. `took` is how long a call takes, and `pause` how long
    an agent then has no call to make; `lag` is the way to the server, and back, and twice that to
    other nodes. `whole`: the server says when to come back in full seconds, and else exactly."""

    def __init__(
        self,
        server: Server,
        said: float = 0.0,
        size: int = 16,
        slots: int = 1,
        took: Nanoseconds = SECOND // 5,
        pause: Nanoseconds = SECOND // 20,
        whole: bool = True,
        lag: Nanoseconds = 2 * MILLISECOND,
        seed: int = 1,
    ) -> None:
        self.server = server
        self.took, self.pause, self.whole, self.lag = took, pause, whole, lag
        self.served: list[Nanoseconds] = []
        self.refused: list[Nanoseconds] = []
        self.now: Nanoseconds = 0
        self.random = Random(seed)
        self._heap: list[tuple[Nanoseconds, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0
        self.nodes = [
            _Node(NodeId(f"n{number:02}"), f"{seed}/{number}", int(said * 1_000))
            for number in range(size)
        ]
        self._alive = frozenset(each.node for each in self.nodes)
        for node in self.nodes:
            for _ in range(slots):
                self._after(self._around(self.pause), self._want, node)

    def run(self, until: Nanoseconds) -> None:
        """Let time go by."""
        while self._heap[0][0] <= until:
            self.now, _, action, arguments = heapq.heappop(self._heap)
            action(*arguments)

    def lose(self, number: int) -> None:
        """That node goes, and is known to be gone at once."""
        self._alive -= {self.nodes[number].node}

    def shares(self, begin: Nanoseconds, end: Nanoseconds, rate: float) -> tuple[float, float]:
        """What part of the calls in that time was refused, and how much of the limit was used."""
        refused = sum(begin <= at < end for at in self.refused)
        served = sum(begin <= at < end for at in self.served)
        return refused / max(1, refused + served), served / (rate * (end - begin) / SECOND)

    def _after(self, delay: Nanoseconds, action: Callable[..., None], *arguments: Any) -> None:
        self._count += 1
        heapq.heappush(self._heap, (self.now + delay, self._count, action, arguments))

    def _around(self, time: Nanoseconds) -> Nanoseconds:
        return int(time * (0.5 + self.random.random()))

    def _turn(self) -> Turn:
        return Turn(self.now, WALL + self.now, 1)

    def _want(self, node: _Node) -> None:
        node.machine.waits(self._turn(), ENDPOINT, node.said)
        node.waiting += 1
        self._step(node)

    def _step(self, node: _Node) -> None:
        node.rings_at = None
        node.alarm.clear()
        if node.node not in self._alive:
            return
        view = View(self._alive, frozenset(), node.node)
        while node.waiting and node.machine.admits(self.now, view, ENDPOINT):
            node.waiting -= 1
            node.machine.leaves(ENDPOINT)
            node.machine.begins(ENDPOINT, self.now)
            self._after(self._around(self.lag), self._arrives, node)
        turn = self._turn()
        node.machine.tell(turn)
        for key, value in turn.writes:
            assert value is not None
            node.sequence += 1
            word = _Said(node.node, value, node.sequence)
            for other in self.nodes:
                delay = 0 if other is node else self._around(2 * self.lag)
                self._after(delay, self._hear, other, key, word)
        if node.alarm.at is not None:
            node.rings_at = max(node.alarm.at, self.now + 1)
            self._after(node.rings_at - self.now, self._ring, node, node.rings_at)

    def _ring(self, node: _Node, at: Nanoseconds) -> None:
        if node.rings_at == at:
            self._step(node)

    def _hear(self, node: _Node, key: str, word: _Said) -> None:
        before = node.shelf.words.get(key)
        if before is None or before.sequence < word.sequence:
            node.shelf.words[key] = word
            if node.machine.learn(self._turn(), key):
                self._step(node)

    def _arrives(self, node: _Node) -> None:
        wait = self.server.wait(self.now)
        if not wait:
            self.served.append(self.now)
            self._after(self._around(self.took) + self._around(self.pause), self._want, node)
            return
        self.refused.append(self.now)
        unit = SECOND if self.whole else MILLISECOND
        self._after(self._around(self.lag), self._returns, node, -(-wait // unit) * unit)

    def _returns(self, node: _Node, wait: Nanoseconds) -> None:
        node.machine.refused(self._turn(), RateLimited(ENDPOINT, wait))
        self._after(wait + int(wait * 0.1 * self.random.random()), self._want, node)
        self._step(node)
