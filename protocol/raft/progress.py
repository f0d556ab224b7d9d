"""What a leader knows of one follower, and how fast it may send to it.

    PROBE      one Append at a time feels for the place where the logs match
    REPLICATE  Appends are pipelined within a window (thesis, 10.2.1)
    SNAPSHOT   what it lacks is compacted away: parts of a snapshot go, one after the other

    from        event                                          to
    ---------   --------------------------------------------   ---------
    PROBE       it answers that the logs match                 REPLICATE
    REPLICATE   it refuses, or cannot be reached               PROBE
    PROBE       the entry before the next one is gone          SNAPSHOT
    SNAPSHOT    it has that, or all that is compacted away     REPLICATE

Invariant: match < next; `match` only grows, but for a follower that has provably lost entries.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum

from protocol.clocks import Nanoseconds

PART_DOUBLINGS_MAX = 7  # of the heartbeat interval, between repetitions of a part
REMEMBERED_MAX = 1_024  # unanswered messages whose times are remembered

NEVER: Nanoseconds = -(2**62)


class Pace(Enum):
    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"


@dataclass(frozen=True, slots=True)
class EncodedSnapshot:
    """A snapshot as it travels; `digest` is SHA-256 over `data`."""

    index: int
    digest: bytes
    data: bytes


@dataclass(slots=True)
class Progress:
    """See the module's text. `heard_at`: the last answer came then. `confirmed`: the newest request
    that was answered, and `confirmed_at` when that one had been sent. `is_reached`: since its last
    answer no message was undeliverable."""

    next_index: int
    match_index: int
    heard_at: Nanoseconds
    is_reached: bool = True
    pace: Pace = Pace.PROBE
    waiting: bool = False  # PROBE: one is on its way
    confirmed: int = 0
    confirmed_at: Nanoseconds = NEVER
    probed_after: int = 0  # PROBE: requests above this feel for the match; others are older
    part_request: int = 0  # SNAPSHOT: the one that carried the latest part
    part_again_at: Nanoseconds = NEVER  # SNAPSHOT: not before, if no answer to it comes
    part_repeats: int = 0  # SNAPSHOT: how often that part has gone in vain
    matched_before: int = 0  # requests above this were sent when `match_index` was known
    told_commit: int = 0
    lost: bool = False  # it has forgotten entries that it had acknowledged
    snapshot: EncodedSnapshot | None = None
    offset: int = 0  # of the part of it that is on its way
    _inflight: deque[tuple[int, Nanoseconds, int]] = field(default_factory=deque)
    _inflight_size: int = 0

    def __repr__(self) -> str:
        extra = ""
        if self.snapshot is not None:
            extra = f" snapshot={self.snapshot.index}@{self.offset}"
        paused = " paused" if self.waiting else ""
        inflight = f" inflight={len(self._inflight)}" if self._inflight else ""
        return (
            f"<{self.pace.value} match={self.match_index} next={self.next_index}"
            f"{extra}{paused}{inflight}>"
        )

    @property
    def inflight(self) -> int:
        """Messages that are not answered yet."""
        return len(self._inflight)

    def may_send(self, inflight_max: int, size_max: int) -> bool:
        """Whether another Append with entries may go."""
        if self.pace is Pace.PROBE:
            return not self.waiting
        return len(self._inflight) < inflight_max and self._inflight_size < size_max

    def sent(self, request: int, now: Nanoseconds, entries: int, size: int) -> None:
        """A message that wants an answer has gone."""
        if len(self._inflight) >= REMEMBERED_MAX:  # heartbeats to somebody who is silent
            self._inflight_size -= self._inflight.popleft()[2]
        self._inflight.append((request, now, size))
        self._inflight_size += size
        if self.pace is Pace.PROBE:
            self.waiting = True
        else:
            self.next_index += entries

    def told(self, commit: int, last_index: int) -> None:
        """The commit index has gone with a message that can prove a match up to `last_index`."""
        self.told_commit = max(self.told_commit, min(commit, last_index))

    def is_news(self, commit: int) -> bool:
        """Whether the follower, if it has all that was sent, could commit more than it was told."""
        return min(commit, self.next_index - 1) > self.told_commit

    def answered(self, request: int, now: Nanoseconds) -> None:
        """An answer to `request`: to all before it there will be none, or none that matters."""
        self.heard_at = now
        self.is_reached = True
        while self._inflight and self._inflight[0][0] <= request:
            number, sent_at, size = self._inflight.popleft()
            self._inflight_size -= size
            if number == request and number > self.confirmed:
                self.confirmed, self.confirmed_at = number, sent_at

    def matched(self, index: int, request_counter: int, first_index: int) -> bool:
        """The follower has everything up to `index`: whether that is news. The leader's log begins
        at `first_index`."""
        self.waiting = False
        if (
            self.pace is Pace.PROBE
            or (self.snapshot is not None and index >= self.snapshot.index)
            or (self.pace is Pace.SNAPSHOT and max(index, self.match_index) >= first_index - 1)
        ):
            self.become_replicate(max(index, self.match_index))
        self.next_index = max(self.next_index, index + 1)
        if index <= self.match_index:
            return False
        self.match_index = index
        self.matched_before = request_counter
        return True

    def become_probe(self, next_index: int, request_counter: int) -> None:
        """Feel for the match from `next_index` on."""
        self.pace = Pace.PROBE
        self.probed_after = request_counter
        self.told_commit = 0
        self.next_index = max(next_index, self.match_index + 1)
        self.waiting = False
        self.snapshot = None
        self._forget_inflight()

    def become_replicate(self, match: int) -> None:
        self.pace = Pace.REPLICATE
        self.next_index = match + 1
        self.snapshot = None

    def become_snapshot(self, snapshot: EncodedSnapshot) -> None:
        assert snapshot.index >= self.match_index
        self.pace = Pace.SNAPSHOT
        self.snapshot = snapshot
        self.offset = 0
        self.part_repeats = 0
        self.waiting = False
        self._forget_inflight()

    def sent_part(self, request: int, now: Nanoseconds, wait: Nanoseconds) -> None:
        """The part at `offset` has gone. To no part may ever come an answer: the disk may take long
        for the last one, and who cannot read the whole does not answer it at all."""
        self.part_request = request
        self.part_again_at = now + (wait << self.part_repeats if self.part_repeats else 0)
        self.part_repeats = min(self.part_repeats + 1, PART_DOUBLINGS_MAX)

    def is_part_lost(self, request: int, now: Nanoseconds) -> bool:
        """Whether the part should go again, now that something sent later is answered."""
        return (
            self.pace is Pace.SNAPSHOT and request > self.part_request and now >= self.part_again_at
        )

    def forget_match(self) -> None:
        """The follower has provably lost what it had acknowledged."""
        self.match_index = 0
        self.lost = True

    def _forget_inflight(self) -> None:
        """The window is empty again. The times when requests were sent stay known: what was asked
        is not made unasked."""
        self._inflight = deque((request, sent_at, 0) for request, sent_at, _ in self._inflight)
        self._inflight_size = 0
