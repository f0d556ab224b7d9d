"""Lessons: what refusals (429) teach of the limit of an endpoint, and how that grows again.

What is learnt is what the team was served, and no node need count that: while calls wait, it is
what the limit let through since the last lesson, which all nodes know. After the first refusal the
limit is a guess that doubles every few seconds, for a burst tells little of a rate; so is what was
learnt in less than SPAN_MIN, or comes near to a limit that was configured. What was learnt in
longer is left by a cubic (Ha, Rhee and Xu, CUBIC, 2008): slowly where the last refusal was, faster
the longer none comes, and the faster the shorter the time was that it was learnt from. One refusal
below a limit that was configured is an accident, and soon forgotten; several make a lesson that
wins over a limit that was configured too high.

A server that refuses for a while, whatever it is asked, teaches a series of lessons. Each takes the
limit down to DECREASE_MAX of what it was then, or less far if more was served (and by DECREASE
besides, if it is more than a guess); only a guess that had SPAN_MIN to grow may fall further. The
floor is one call in 1,000 s; but a lesson ends FORGET_AFTER the wait that it came with, so that the
next call comes after about that time at the latest. When the last has ended, there is no limit but
what was configured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from protocol.clocks import SECOND, Nanoseconds

MARGIN = 0.97  # of the limit: clocks and news are never quite right
AT_ONCE: Nanoseconds = SECOND  # so long a time's calls a server is taken to let through at once
STEP: Nanoseconds = SECOND // 4  # of looking back
SPAN_MIN: Nanoseconds = SECOND  # what was learnt in less is a guess
DOUBLING: Nanoseconds = 3 * SECOND  # of a guess
DECREASE = 0.95  # of what was served
DECREASE_MAX = 0.7  # of the limit before, once that was more than a guess
PLATEAU: Nanoseconds = 7 * SECOND  # after so long a limit grows least
GAIN, GAIN_MIN = 0.5, 0.05  # what it has gained by then, learnt in AT_ONCE, or in long
FORGET_AFTER: Nanoseconds = 60 * SECOND  # asking without a refusal, there is no limit any more
MILLI = 1_000


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a refusal taught, and from when on one might ask again, by this node's clock. `rate`:
    calls in 1,000 s, 0 for none. `wait`: how long that was after the refusal. `span`: from how long
    a time of calls it was learnt; 0: it is a guess. Nobody tells the span: each who hears of the
    refusal estimates it by the lessons it knows itself, so that nodes may differ in it."""

    rate: int = 0
    at: Nanoseconds = 0
    wait: Nanoseconds = 0
    span: Nanoseconds = 0

    def holds(self, now: Nanoseconds) -> bool:
        """Whether it still counts."""
        return self.rate > 0 and now < self.at + FORGET_AFTER

    def limit(self, now: Nanoseconds) -> float:
        """Calls a second."""
        passed = max(0, now - self.at)
        if self.span < SPAN_MIN:
            doubled: float = 2.0 ** (passed / DOUBLING)
            return self.rate / MILLI * doubled
        gain = max(GAIN_MIN, GAIN * AT_ONCE / self.span)
        return self.rate / MILLI * (1.0 + gain * (1.0 + (passed / PLATEAU - 1.0) ** 3))


NO_LESSON = Lesson()


def lowest(lessons: Sequence[Lesson], ceiling: float | None, now: Nanoseconds) -> float:
    """Of all limits that somebody knows of."""
    limits = [lesson.limit(now) for lesson in lessons]
    return min(limits if ceiling is None else [ceiling * MARGIN, *limits])


def served(
    lessons: Sequence[Lesson], ceiling: float | None, asked: float, now: Nanoseconds
) -> float:
    """How many calls a second an endpoint takes at least, that has refused one just now. `asked` is
    how many it was asked for at most.

    It is empty now, so in the time from any moment on it has let through what came in that time,
    and AT_ONCE more at most; and if it counts by a window, no more than that window's calls, of
    which the wait tells the length. The best of these bounds counts."""
    last = max(lessons, key=lambda each: each.at)
    limit = lowest(lessons, ceiling, now)
    taken, best, moment = 0.0, 0.0, now
    while moment > last.at:
        step = min(STEP, moment - last.at)
        moment -= step
        taken += lowest(lessons, ceiling, moment + step // 2) * step
        best = max(best, taken / (max(now - moment, last.wait) + AT_ONCE))
    is_sudden = now < last.at + SPAN_MIN or last.span >= SPAN_MIN
    return max(limit * DECREASE_MAX if is_sudden else 0.0, min(best, asked))
