"""All registers of a history, searched in turn, within a budget of steps and of memory.

Invariant: TRUE and FALSE are proven, whatever was forgotten on the way; what the budget did not
suffice for is UNKNOWN. The same operations give the same report.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from protocol.jobs import shown
from protocol.sim.linearizable.operations import Operation, Value, distinct, value_shown
from protocol.sim.linearizable.search import Search
from protocol.sim.linearizable.shrinking import enough_of

SLICE_STEPS = 5_000  # for one key, until it is another's turn
SHOWN_OF_ORDER = 6  # of a counter-example's order, the last ones
SHOWN_OPERATIONS_MAX = 12  # of any other list in it


class Verdict(Enum):
    TRUE = "true"
    FALSE = "false"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Budget:
    """A step looks at one operation, whether it can be the next. A remembered configuration takes
    some 100 bytes; beyond the limit the largest search begins its memory anew."""

    steps_max: int = 20_000_000
    configurations_max: int = 1_000_000


@dataclass(frozen=True, slots=True)
class CounterExample:
    """Why one key's operations have no order. `order` is as far as any goes, `value` what the
    register then holds, `stuck` what can no longer follow. `enough` is a part of the history that
    has no order either, and nothing that could explain it was left out."""

    key: Hashable
    operations: int
    order: tuple[Operation, ...]
    value: Value
    stuck: tuple[Operation, ...]
    enough: tuple[Operation, ...]

    def lines(self) -> list[str]:
        """For people."""
        lines = []
        named = key_shown(self.key)
        if self.order:
            left_out = max(0, len(self.order) - SHOWN_OF_ORDER)
            lines.append(f"{named}: no order of its {self.operations} operations goes further than")
            if left_out:
                lines.append(f"  ... {left_out} operations, then")
            lines += [f"  {op}" for op in self.order[left_out:]]
            value = value_shown(self.value)
            lines.append(f"which leaves {value}, and this can no longer follow:")
        else:
            lines.append(f"{named}: in no order of its {self.operations} operations can this be:")
        lines += _listed(self.stuck)
        lines.append("enough to see it, by the time of the call:")
        lines += _listed(self.enough)
        return lines


def key_shown(key: Hashable) -> str:
    """A key for people; None is the only one of a history without keys."""
    return "the register" if key is None else f"key {shown(key)}"


def _listed(operations: Sequence[Operation]) -> list[str]:
    lines = [f"  {op}" for op in operations[:SHOWN_OPERATIONS_MAX]]
    if len(operations) > SHOWN_OPERATIONS_MAX:
        lines.append(f"  ... {len(operations) - SHOWN_OPERATIONS_MAX} more")
    return lines


@dataclass(frozen=True, slots=True)
class Report:
    """What came of it. `undecided` are the keys without a verdict; FALSE does not wait for them."""

    verdict: Verdict
    operations: int
    keys: int
    steps: int
    undecided: tuple[Hashable, ...]
    counter_example: CounterExample | None


def check(operations: Iterable[Operation], budget: Budget | None = None) -> Report:
    """Whether the history is linearizable. Operations may come in any order; what failed did not
    happen, and an unknown read says nothing."""
    budget = budget or Budget()
    by_key: dict[Hashable, list[Operation]] = {}
    for op in operations:
        by_key.setdefault(distinct(op.key), []).append(op)
    count = sum(len(part) for part in by_key.values())
    unbegun = deque(by_key.values())
    begun: deque[tuple[list[Operation], Search]] = deque()
    steps = remembered = 0

    def report(verdict: Verdict, counter_example: CounterExample | None = None) -> Report:
        undecided = [part[0].key for part, _ in begun] + [part[0].key for part in unbegun]
        return Report(verdict, count, len(by_key), steps, tuple(undecided), counter_example)

    while (unbegun or begun) and steps < budget.steps_max:
        if unbegun:
            part = unbegun.popleft()
            search = Search(part)
        else:
            part, search = begun.popleft()
        steps -= search.steps
        remembered -= search.remembered
        has_order = search.advance(min(SLICE_STEPS, budget.steps_max - steps))
        steps += search.steps
        if has_order is False:
            return report(Verdict.FALSE, _counter_example(part, search))
        if has_order is None:
            begun.append((part, search))
            remembered += search.remembered
        if remembered > budget.configurations_max:
            largest = max((other for _, other in begun), key=lambda other: other.remembered)
            remembered -= largest.remembered
            largest.forget()
    return report(Verdict.UNKNOWN if unbegun or begun else Verdict.TRUE)


def _counter_example(part: list[Operation], search: Search) -> CounterExample:
    end = search.dead_end()
    enough = enough_of(part, end)
    return CounterExample(part[0].key, len(part), end.order, end.value, end.stuck, tuple(enough))
