"""The few operations that are enough to see that a register's history has no order.

Leaving operations out must not make a history worse than it was: without its write, a read of that
value would be wrong, and say nothing. Invariant: whatever is left out here could be left out of any
linearizable history, and that would stay linearizable. These are such parts:

 - what was called after a moment, and the ends of what was under way then;
 - what leaves the value as it is: a read, or a `cas` that found another value;
 - a change that nobody can have seen: while it may have been the last one, no operation was under
   way that reads that value or compares with it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

from protocol.clocks import Nanoseconds
from protocol.sim.linearizable.operations import Operation, Outcome, distinct
from protocol.sim.linearizable.search import DeadEnd, Search

STEPS_MAX = 1_000_000  # of all the searches; to look at an operation once is a step too


@dataclass(frozen=True, slots=True)
class _Part:
    """An operation, and what was known of it at the moment of the cut."""

    whole: Operation
    then: Operation


def enough_of(operations: Sequence[Operation], end: DeadEnd) -> list[Operation]:
    """A part of one key's operations, which have no order, that has none either: as small as is
    cheap to find. By the time of the call."""
    has_no_order = _Trial()
    parts = _cut(operations, end.ended_ns)
    stuck = {id(op) for op in end.stuck}
    likely = [part for part in parts if part.then.mutates or id(part.whole) in stuck]
    if has_no_order(likely):
        parts = likely
    before = len(parts) + 1
    while len(parts) < before and not has_no_order.is_over:
        before = len(parts)
        parts = _reduced(parts, [part for part in parts if not part.then.mutates], has_no_order)
        looks = sum(part.then.looks for part in parts)
        if looks * before < STEPS_MAX:  # comparisons
            parts = _reduced(parts, _unseen(parts), has_no_order)
    return [part.whole for part in parts]


class _Trial:
    """Tells whether some parts have no order, until its steps are used up: then, never."""

    def __init__(self) -> None:
        self._left = STEPS_MAX

    @property
    def is_over(self) -> bool:
        return self._left <= 0

    def __call__(self, parts: Sequence[_Part]) -> bool:
        self._left -= len(parts)
        if self.is_over:
            return False
        search = Search([part.then for part in parts])
        has_order = search.advance(self._left)
        self._left -= search.steps
        return has_order is False


def _cut(operations: Iterable[Operation], ended_ns: Nanoseconds) -> list[_Part]:
    """The history as it was known right after `ended_ns`, by the time of the call."""
    parts = []
    for op in operations:
        if op.outcome is Outcome.FAILED or op.called_ns > ended_ns:
            continue
        if op.returned_ns is not None and op.returned_ns <= ended_ns:
            parts.append(_Part(op, op))
        elif op.mutates:
            unknown = replace(op, result=None, returned_ns=None, outcome=Outcome.UNKNOWN)
            parts.append(_Part(op, unknown))
    return sorted(parts, key=lambda part: part.whole.called_ns)


def _unseen(parts: Sequence[_Part]) -> list[_Part]:
    """Changes that nobody can have seen. They may all be left out, or any of them: the earliest
    first, so that the change that ends the time in which it may be seen is still there. The last
    to give a value that somebody looks at is not among them: it tells where that comes from."""
    looks: dict[Hashable, list[Operation]] = {}
    mismatches = []  # have seen any value but the one they name
    changes = []
    for op in (part.then for part in parts):
        if op.is_mismatch:
            mismatches.append(op)
        elif op.looks:
            looks.setdefault(distinct(op.looks_for), []).append(op)
        if op.mutates and op.outcome is Outcome.OK:
            changes.append(op)
    gone_ns = _times_gone(changes)
    found = []
    kept = set()
    for part in reversed(parts):
        op, value = part.then, distinct(part.then.gives)
        lookers = (*mismatches, *looks.get(value, ()))
        if not op.mutates or any(_overlaps(look, op.called_ns, gone_ns(op)) for look in lookers):
            continue
        if value in looks and value not in kept:
            kept.add(value)
        else:
            found.append(part)
    return found[::-1]


def _times_gone(
    changes: Sequence[Operation],
) -> Callable[[Operation], Nanoseconds | None]:
    """Tells when another change has certainly replaced an operation's value; None is never.
    `changes` are by the time of the call."""
    called = [op.called_ns for op in changes]
    first_return = [op.returned_ns or 0 for op in changes]  # of this one and those called later
    for at in range(len(changes) - 2, -1, -1):
        first_return[at] = min(first_return[at], first_return[at + 1])

    def gone_ns(op: Operation) -> Nanoseconds | None:
        if op.returned_ns is None:
            return None
        later = bisect_right(called, op.returned_ns)
        return first_return[later] if later < len(changes) else None

    return gone_ns


def _overlaps(op: Operation, begin_ns: Nanoseconds, end_ns: Nanoseconds | None) -> bool:
    is_over = op.returned_ns is not None and op.returned_ns < begin_ns
    return not is_over and (end_ns is None or op.called_ns <= end_ns)


def _reduced(parts: list[_Part], spare: list[_Part], has_no_order: _Trial) -> list[_Part]:
    """The parts without those of `spare` that are not needed, tried all at once, then in halves,
    quarters and so on (Zeller and Hildebrandt, *Simplifying and Isolating Failure-Inducing Input*,
    2002)."""
    size = len(spare)
    while size:
        at = 0
        while at < len(spare) and not has_no_order.is_over:
            chosen = {id(part) for part in spare[at : at + size]}
            rest = [part for part in parts if id(part) not in chosen]
            if has_no_order(rest):
                parts = rest
                del spare[at : at + size]
            else:
                at += size
        size //= 2
    return parts
