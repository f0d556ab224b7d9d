"""What the operations of one register need, forbid and give, as small numbers.

A value that nobody looks at is as good as any other such; the rest have numbers. Operations with
a known outcome are numbered by the time of their calls; on from there the strays, whose outcome is
unknown, such that those that do the same follow each other by the time of their calls. What failed
and what is unknown and changes nothing is left out.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import groupby

from protocol.sim.linearizable.operations import Operation, Outcome, distinct

ANY = -1  # as `needs`: fits every value; as `forbids`: refuses none; as `gives`: leaves it
ABSENT = 0  # the number of the value None
OTHER = 1  # of all values that nobody looks at


class Rules:
    """One register's, fixed. Times are ranks: equal times are equal, so what returned at the
    instant of a call is concurrent with it."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        known = [op for op in operations if op.outcome is Outcome.OK]
        known.sort(key=lambda op: op.called_ns)
        strays = [op for op in operations if op.outcome is Outcome.UNKNOWN and op.mutates]
        self._numbers: dict[Hashable, int] = {distinct(None): ABSENT}
        for op in known + strays:
            if op.looks:
                self._numbers.setdefault(distinct(op.looks_for), len(self._numbers) + 1)
        self.values = len(self._numbers) + 1
        strays.sort(key=lambda op: (self._rule(op), op.called_ns))
        self.operations = known + strays
        self.size = len(known)
        self._rank(known, strays)
        rules = [self._rule(op) for op in self.operations]
        self.needs = [needs for needs, _, _ in rules]
        self.forbids = [forbids for _, forbids, _ in rules]
        self.gives = [gives for _, _, gives in rules]
        self._index()
        self.cuts = self._find_cuts()

    def _rank(self, known: list[Operation], strays: list[Operation]) -> None:
        times = {op.called_ns for op in self.operations} | {op.returned_ns or 0 for op in known}
        rank = {time: number for number, time in enumerate(sorted(times))}
        self.never = len(rank)
        self.called = [rank[op.called_ns] for op in known]
        self.called.append(self.never + 1)  # ends every scan
        self.returned = [rank[op.returned_ns or 0] for op in known]
        self.stray_called = [rank[op.called_ns] for op in strays]

    def _rule(self, op: Operation) -> tuple[int, int, int]:
        """The value that the operation needs, the one that it forbids, and the one it gives."""
        looks_for = self._numbers[distinct(op.looks_for)] if op.looks else ANY
        gives = self._numbers.get(distinct(op.gives), OTHER) if op.mutates else ANY
        return (ANY, looks_for, gives) if op.is_mismatch else (looks_for, ANY, gives)

    def _index(self) -> None:
        """Who gives a value, and who looks at it."""
        self.givers: dict[int, list[int]] = {}  # of those with a known outcome
        for number, gives in enumerate(self.gives[: self.size]):
            self.givers.setdefault(gives, []).append(number)
        self.last_look = {needs: number for number, needs in enumerate(self.needs[: self.size])}
        self.last_look |= dict.fromkeys(self.needs[self.size :], self.size)
        self.is_any_sought = any(forbids != ANY for forbids in self.forbids)
        # Value given -> for each value needed the strays that do just that.
        self.strays_giving: dict[int, list[tuple[int, range]]] = {}
        strays = range(self.size, len(self.operations))
        for (needs, gives), group in groupby(strays, lambda n: (self.needs[n], self.gives[n])):
            numbers = list(group)
            alike = range(numbers[0], numbers[-1] + 1)
            self.strays_giving.setdefault(gives, []).append((needs, alike))

    def is_write(self, number: int) -> bool:
        """Whether it gives a value whatever was there: a write or a deletion."""
        return self.needs[number] == ANY and self.gives[number] != ANY

    def _find_cuts(self) -> list[int]:
        """For each number the last one at or before it such that every order takes all operations
        below that one before it, and then has one certain value."""
        cuts = []
        cut = 0
        all_returned = changes_returned = -1
        is_certain = True
        first_stray = min(self.stray_called, default=self.never)
        for number, called in enumerate(self.called):
            if called > all_returned and is_certain and first_stray >= called:
                cut = number
            cuts.append(cut)
            if number == self.size:
                break
            all_returned = max(all_returned, self.returned[number])
            if self.gives[number] != ANY:
                is_certain = called > changes_returned
                changes_returned = max(changes_returned, self.returned[number])
        return cuts
