"""The search for an order of one register's operations.

Wing and Gong, *Testing and Verifying Concurrent Objects* (1993): take any operation that was
called before all those not yet taken had returned; if the register would have answered as it did,
go on from there, else take another. Lowe, *Testing for Linearizability* (2017): never go on twice
from the same configuration, which is the set of the operations taken and the register's value; and
take operations just in time.

A configuration's set is that of the operations with a known outcome below `base`, and of those at
the bits of `mask` above it; apart from these the set of those with an unknown outcome, the strays,
at the bits of `strays`. So it is as small as the concurrency, not as the history.

For a register much is not worth a choice. Each of these is an exchange in an order of all:
 - What leaves the value as it is, and fits it, is taken at once: had an order taken it later, it
   can be moved here.
 - A stray is taken only where the next operation sees its effect, that is, reads it or compares
   with it: were the next one a write, or none, an order without the stray would do. Until somebody
   has seen the effect the configuration is in debt.
 - A write (or a deletion) is taken where the next operation, which is called already, sees its
   effect, else when it is due: it is the next to return. If some other write was taken after this
   one was called, there are two ways then: it comes now, or it came right before that one, unseen.
   A write that has no such way out is pledged.
 - Of several that do the same, writes or strays, the one that ends first or was called first.
 - Who is as far with the same value, with more strays left and with less pledged, can do all that
   the other can.
 - Where nothing is under way and the last change was made by one operation alone, every order
   passes through one configuration, a cut. Once it is reached, nothing before it is tried again.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from protocol.clocks import Nanoseconds
from protocol.sim.linearizable.operations import Operation, Value
from protocol.sim.linearizable.rules import ABSENT, ANY, Rules


class _How(Enum):
    """In what sense an operation is taken."""

    PLAIN = "now"
    SEEN = "now, and the next one sees its effect"
    UNSEEN = "right before the last write that was taken, which replaced its effect"


_Path: TypeAlias = "tuple[_Path, _How, int] | None"  # the operations taken, last first


@dataclass(slots=True)
class _Configuration:
    """Where a search stands: see the head of the file."""

    base: int
    mask: int
    strays: int
    in_debt: bool
    value: int
    path: _Path
    spared: int  # what was called until then was there to be taken at the last write
    pledged: int = 0  # the writes that were not, at the bits as in `mask`
    horizon: int = 0  # the first return of what is not taken: nothing called later may be
    moves: list[tuple[_How, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class DeadEnd:
    """The furthest that any order goes: all that returned before `ended_ns` can be put in an order,
    but not with what returned then."""

    order: tuple[Operation, ...]
    value: Value
    stuck: tuple[Operation, ...]
    ended_ns: Nanoseconds


class Search:
    """Of one key: operations with a known outcome that happened, and unknown ones."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._rules = Rules(operations)
        self._cut = 0  # the last one that was passed
        # What is taken and the value -> what else is known to lead nowhere from there, as `debts`;
        # of two of which one is less, that one only.
        self._seen: dict[int, tuple[int, ...]] = {}
        self.remembered = 0  # how many configurations that are
        self._furthest: tuple[int, int, _Path, list[int]] = (-1, -1, None, [])
        self.steps = 0  # operations looked at, whether they can be the next
        self._pause_at = 0
        self._running = self._run()

    def advance(self, steps: int) -> bool | None:
        """Go on for so many steps. Whether there is an order; None if that is open yet."""
        assert steps > 0, "no progress without steps"
        self._pause_at = self.steps + steps
        try:
            next(self._running)
        except StopIteration as end:
            return bool(end.value)
        return None

    def forget(self) -> None:
        """Free memory. The verdict does not depend on it, only the time to reach one."""
        self._seen.clear()
        self.remembered = 0

    def _run(self) -> Generator[None, None, bool]:
        """Whether there is an order. Yields when `steps` has reached `_pause_at`."""
        rules = self._rules
        if (number := self._never_given()) is not None:
            self._furthest = (rules.never, 0, None, [number])
            return False
        trail: list[_Configuration] = []  # those with moves that were not tried
        here = _Configuration(0, 0, 0, False, ABSENT, None, -1)
        self._settle(here)
        while here.base < rules.size:
            if rules.cuts[here.base] > self._cut:
                self._cut = rules.cuts[here.base]
                trail.clear()
                self.forget()
            if self._is_new(here) and here.moves:
                trail.append(here)
            while self.steps >= self._pause_at:
                yield
            if not trail:
                return False
            last = trail[-1]
            how, number = last.moves.pop()
            if not last.moves:
                trail.pop()
            here = self._after(last, how, number)
        return True

    def _never_given(self) -> int | None:
        """An operation that saw a value which nobody had given when it returned."""
        start = _Configuration(0, 0, 0, False, ABSENT, None, -1)
        for number in range(self._rules.size):
            value, until = self._rules.needs[number], self._rules.returned[number]
            if value not in (ANY, ABSENT) and not self._can_come(start, value, until):
                return number
        return None

    def _is_new(self, here: _Configuration) -> bool:
        """Whether nothing is known of what is taken and of the value with less debts; if so, that
        is known from now on."""
        rules = self._rules
        name = (here.mask * rules.values + here.value) * (rules.size + 1) + here.base
        debts = (here.pledged << len(rules.stray_called) | here.strays) << 1 | here.in_debt
        known = self._seen.get(name, ())
        self.steps += len(known)
        if any(less & ~debts == 0 for less in known):
            return False
        kept = tuple(more for more in known if debts & ~more)
        self.remembered += 1 + len(kept) - len(known)
        self._seen[name] = (*kept, debts)
        return True

    def _after(self, here: _Configuration, how: _How, number: int) -> _Configuration:
        """The configuration after taking an operation that is among the moves."""
        rules = self._rules
        strays, mask, value, spared = here.strays, here.mask, here.value, here.spared
        if number < rules.size:
            mask |= 1 << (number - here.base)
        else:
            strays |= 1 << (number - rules.size)
        if how is not _How.UNSEEN:
            value = rules.gives[number]
            if rules.is_write(number):
                spared = here.horizon
        path = (here.path, how, number)
        then = _Configuration(here.base, mask, strays, how is _How.SEEN, value, path, spared)
        self._settle(then)
        return then

    def _settle(self, here: _Configuration) -> None:
        """Take all that can be taken without a choice, and find the moves."""
        rules, value = self._rules, here.value
        called, returned = rules.called, rules.returned
        needs, forbids, gives = rules.needs, rules.forbids, rules.gives
        horizon, due = rules.never, ANY
        changes: list[int] = []
        waiting: list[int] = []  # what may be taken, but at another value
        base, mask, pledged = here.base, here.mask, 0
        rest = ~mask
        while True:
            lowest = rest & -rest
            number = base + lowest.bit_length() - 1
            if called[number] > horizon:
                break
            self.steps += 1
            rest ^= lowest
            fits = forbids[number] != value if needs[number] == ANY else needs[number] == value
            if fits and gives[number] == ANY:
                here.path = (here.path, _How.PLAIN, number)
                here.in_debt = False
                mask |= lowest
                if due == ANY:  # all below is taken
                    shift = number + 1 - base
                    base, mask, rest = base + shift, mask >> shift, rest >> shift
                continue
            (changes if fits else waiting).append(number)
            if fits and needs[number] == ANY and called[number] > here.spared:
                pledged |= lowest
            if returned[number] < horizon:
                horizon, due = returned[number], number
        shift = (~mask & (mask + 1)).bit_length() - 1
        here.base, here.mask, here.pledged = base + shift, mask >> shift, pledged >> shift
        here.horizon = horizon
        lost = self._lost(here, waiting)
        if lost is not None:
            self._note(here, returned[lost], [lost])
        elif due != ANY:
            self._note(here, horizon, waiting)
            here.moves = self._moves(here, due, changes, waiting)

    def _lost(self, here: _Configuration, waiting: list[int]) -> int | None:
        """One that waits for a value which nothing that is left can give in time."""
        for number in waiting:
            value, until = self._rules.needs[number], self._rules.returned[number]
            if value != ANY and not self._can_come(here, value, until):
                return number
        return None

    def _can_come(self, here: _Configuration, value: int, until: int) -> bool:
        """Whether something is left that gives the value and was called by then."""
        rules = self._rules
        givers = rules.givers.get(value, [])
        for at in range(bisect_left(givers, here.base), len(givers)):
            giver = givers[at]
            if rules.called[giver] > until:
                break
            self.steps += 1
            if not here.mask >> (giver - here.base) & 1:
                return True
        return any(
            self._first_left(here, until, alike) is not None
            for _, alike in rules.strays_giving.get(value, ())
        )

    def _first_left(self, here: _Configuration, until: int, alike: range) -> int | None:
        """The first of strays that do the same which is not taken, if it was called by then."""
        self.steps += 1
        bit = alike.start - self._rules.size
        taken = here.strays >> bit  # the first ones, and those of other strays
        bit += (~taken & (taken + 1)).bit_length() - 1
        number = bit + self._rules.size
        return number if number in alike and self._rules.stray_called[bit] <= until else None

    def _moves(
        self, here: _Configuration, due: int, changes: list[int], waiting: list[int]
    ) -> list[tuple[_How, int]]:
        """What may be taken next, the best last."""
        rules = self._rules
        changes.sort(key=rules.returned.__getitem__, reverse=True)
        first = {(rules.needs[number], rules.gives[number]): number for number in changes}
        writes = [number for number in first.values() if rules.is_write(number)]
        others = [number for number in first.values() if not rules.is_write(number)]
        wanted = self._wanted(here, others + waiting)
        moves = [(_How.SEEN, number) for number in self._useful_strays(here, wanted)]
        if not here.in_debt:
            moves += [
                (_How.SEEN, number)
                for number in writes
                if rules.gives[number] in wanted and number != due
            ]
        moves += [(_How.PLAIN, number) for number in others]
        if rules.is_write(due) and not here.in_debt:
            is_pledged = rules.called[due] > here.spared
            if is_pledged or self._is_sought(here, rules.gives[due]):
                moves.append((_How.PLAIN, due))
            if not is_pledged:
                moves.append((_How.UNSEEN, due))
        return moves

    def _is_sought(self, here: _Configuration, value: int) -> bool:
        """Whether there may be somebody left who looks at the value."""
        return self._rules.is_any_sought or self._rules.last_look.get(value, -1) >= here.base

    def _wanted(self, here: _Configuration, looking: list[int]) -> dict[int, None]:
        """The values that somebody looks for now, or a stray which makes such a one of them. Also
        the value as it is: somebody may see a write that does not alter it."""
        rules = self._rules
        wanted = dict.fromkeys(rules.needs[number] for number in looking)
        if ANY in wanted:  # any other value will do
            wanted |= dict.fromkeys((*rules.givers, *rules.strays_giving))
        unseen = list(wanted)
        for value in unseen:  # it grows
            for needs, alike in rules.strays_giving.get(value, ()):
                is_open = needs != ANY and needs not in wanted
                if is_open and self._first_left(here, here.horizon, alike) is not None:
                    wanted[needs] = None
                    unseen.append(needs)
        return wanted

    def _useful_strays(self, here: _Configuration, wanted: dict[int, None]) -> Iterator[int]:
        """Strays that make the value a wanted one; those with a value that is wanted only as any
        other come last."""
        for value in reversed(wanted):
            for needs, alike in self._rules.strays_giving.get(value, ()):
                is_fit = needs == here.value or (needs == ANY and not here.in_debt)
                if is_fit and value != here.value:
                    number = self._first_left(here, here.horizon, alike)
                    if number is not None:
                        yield number

    def _note(self, here: _Configuration, until: int, stuck: list[int]) -> None:
        """Keep the configuration if it is the furthest: from it no order takes what is stuck, and
        the first of that returns at `until`. If more than that is left, a further one follows."""
        taken = here.base + here.mask.bit_count()
        if (until, taken) > self._furthest[:2]:
            self._furthest = (until, taken, here.path, stuck)

    def dead_end(self) -> DeadEnd:
        """Where the furthest order ended, after `advance` said that there is none."""
        rules = self._rules
        _, _, path, numbers = self._furthest
        taken = []
        while path is not None:
            path, how, number = path
            taken.append((how, number))
        order: list[Operation] = []
        write = 0  # where the last one stands
        for how, number in reversed(taken):
            if how is _How.UNSEEN:
                order.insert(write, rules.operations[number])
                write += 1
                continue
            if rules.is_write(number):
                write = len(order)
            order.append(rules.operations[number])
        stuck = tuple(rules.operations[number] for number in numbers)
        ended = min(op.returned_ns for op in stuck if op.returned_ns is not None)
        value = next((op.gives for op in reversed(order) if op.mutates), None)
        return DeadEnd(tuple(order), value, stuck, ended)
