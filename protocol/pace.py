"""How fast a node writes when the exchanges cannot carry all that is written: AIMD, and a queue.

Above what gossip can carry, every reader falls further behind with every second, and nothing in
the exchange itself can help: the writers have to slow down (van Renesse, Dumitriu, Gough and
Thomas, *Efficient Reconciliation and Flow Control for Anti-Entropy Protocols*, LADIS 2008,
section 4). Additive increase and multiplicative decrease make the writers' shares equal in the
end, whatever they were (Chiu and Jain 1989).

    overloaded     the rate is halved, once a tick at most; if there was no limit, there is one now
    a calm tick    the rate is raised by a step
    calm for long, and nothing waits      there is no limit any more

What may not be written yet waits. A later value of a key takes the place of the one that waits, so
that the queue is no longer than there are keys. Nothing is dropped: what does not fit into the
queue is written at once, whatever the rate.

A client's write does not wait, for it is answered once it is on disk, and each counts, not only the
last of its key. Clients have a rate of their own, the same, and above it they are told to come back
later.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from protocol.clocks import SECOND, Nanoseconds
from protocol.config import GossipConfig

CLIENTS_BURST_NS: Nanoseconds = SECOND  # what clients may write at once, if they have not of late

Write = tuple[str, bytes | None]


class Pace:
    """See the module's text. Rates are entries a second."""

    def __init__(self, config: GossipConfig, now: Nanoseconds) -> None:
        self._config = config
        self._limit: float | None = None
        self._waiting: dict[str, bytes | None] = {}
        self._credit = 0.0  # entries that may be written now
        self._credited_at = now
        self._clients_credit = inf  # beyond what they may have at once is forgotten
        self._clients_credited_at = now
        self._was_overloaded = False  # in this tick
        self._calm_ticks = 0
        self._ticked_at = now
        self._asked = 0  # entries asked for in this tick
        self._asked_rate = 0.0  # of late

    @property
    def limit(self) -> float | None:
        """Entries a second; None while there is no limit."""
        return self._limit

    @property
    def waiting(self) -> int:
        """How many keys have a value that is not written yet."""
        return len(self._waiting)

    def overloaded(self) -> None:
        """An exchange could not carry all there was, or a link's outbox overflowed."""
        self._calm_ticks = 0
        if self._was_overloaded:
            return
        self._was_overloaded = True
        current = self._asked_rate if self._limit is None else self._limit
        self._limit = max(current / 2, self._config.pace_min)

    def tick(self, now: Nanoseconds) -> None:
        """An interval of the gossip is over; called now and then."""
        elapsed = now - self._ticked_at
        if elapsed < self._config.tick_ns:
            return
        self._ticked_at = now
        rate = self._asked * SECOND / elapsed
        self._asked = 0
        self._asked_rate += (rate - self._asked_rate) / 4
        was_overloaded, self._was_overloaded = self._was_overloaded, False
        if self._limit is None or was_overloaded:
            return
        self._limit += self._config.pace_step
        self._calm_ticks += 1
        if self._calm_ticks >= self._config.pace_calm_ticks and not self._waiting:
            self._limit = None

    def admit(self, writes: Sequence[Write], now: Nanoseconds) -> list[Write]:
        """What of these, and of what waits, is to be written now."""
        self._asked += len(writes)
        if self._limit is None and not self._waiting:
            return list(writes)
        room = self._config.pace_waiting_max
        at_once: list[Write] = []
        for key, value in writes:
            if key in self._waiting or len(self._waiting) < room:
                self._waiting[key] = value
            else:
                at_once.append((key, value))
        return [*self._take(now), *at_once]

    def admits_client(self, now: Nanoseconds) -> bool:
        """Whether a client's write is made now; otherwise the client has to come again."""
        self._asked += 1
        if self._limit is None:
            self._clients_credit = inf
            return True
        earned = self._limit * (now - self._clients_credited_at) / SECOND
        self._clients_credited_at = now
        burst = max(1.0, self._limit * CLIENTS_BURST_NS / SECOND)
        self._clients_credit = min(self._clients_credit + earned, burst)
        if self._clients_credit < 1:
            return False
        self._clients_credit -= 1
        return True

    def due(self) -> Nanoseconds | None:
        """When something that waits may be written; None if nothing waits."""
        if not self._waiting:
            return None
        if self._limit is None or self._credit >= 1:
            return self._credited_at
        return self._credited_at + int((1 - self._credit) * SECOND / self._limit) + 1

    def _take(self, now: Nanoseconds) -> list[Write]:
        if self._limit is None:
            count = len(self._waiting)
        else:
            burst = max(1.0, self._limit * self._config.tick_ns / SECOND)
            earned = self._limit * (now - self._credited_at) / SECOND
            self._credit = min(self._credit + earned, burst)
            count = min(int(self._credit), len(self._waiting))
            self._credit -= count
        self._credited_at = now
        return [(key, self._waiting.pop(key)) for key in list(self._waiting)[:count]]
