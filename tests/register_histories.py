"""Histories of registers: written by hand, drawn from a simulated register, and judged by brute
force."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, permutations
from random import Random

from protocol.sim.linearizable import Kind, Operation, Outcome

NEVER = 10**9


def op(
    what: str,
    begin: int,
    end: int | None,
    *values: Hashable,
    process: int | str = 0,
    key: Hashable = "x",
) -> Operation:
    """`op("read", 1, 2, 5)` read 5; `op("cas", 1, 2, 3, 4, False)` found no 3. No end: unknown."""
    kind = Kind(what)
    argument: Hashable = None
    result: Hashable = None
    match kind:
        case Kind.READ:
            result = values[0] if end is not None else None
        case Kind.WRITE:
            (argument,) = values
        case Kind.CAS:
            argument = values[:2]
            result = (values[2] if len(values) > 2 else True) if end is not None else None
        case Kind.DELETE:
            pass
    outcome = Outcome.OK if end is not None else Outcome.UNKNOWN
    return Operation(process, kind, key, argument, result, begin, end, outcome)


# -- brute force ---------------------------------------------------------------------------------


def has_order(operations: Sequence[Operation]) -> bool:
    """By the definition: some order of all that happened and of some that may have, in which no
    operation comes after one that was called when it had returned, answers as the history does."""
    happened = [each for each in operations if each.outcome is Outcome.OK]
    unknown = [each for each in operations if each.outcome is Outcome.UNKNOWN]
    return any(
        is_order(order)
        for count in range(len(unknown) + 1)
        for chosen in combinations(unknown, count)
        for order in permutations([*happened, *chosen])
    )


def has_order_by_search(operations: Sequence[Operation]) -> bool:
    """The same by Wing and Gong's search as it stands in the paper, for somewhat longer ones."""
    listed = [each for each in operations if each.outcome is not Outcome.FAILED]
    must = sum(1 << at for at, each in enumerate(listed) if each.outcome is Outcome.OK)
    before = [
        sum(1 << at for at, other in enumerate(listed) if _ends_before(other, each))
        for each in listed
    ]
    seen: set[tuple[int, Hashable]] = {(0, None)}
    left = list(seen)
    while left:
        taken, value = left.pop()
        if taken & must == must:
            return True
        for at, each in enumerate(listed):
            if taken >> at & 1 or before[at] & ~taken:
                continue
            result, new = applied(each, value)
            then = (taken | 1 << at, new)
            if then not in seen and (each.outcome is not Outcome.OK or result == each.result):
                seen.add(then)
                left.append(then)
    return False


def _ends_before(one: Operation, other: Operation) -> bool:
    return one.returned_ns is not None and one.returned_ns < other.called_ns


def is_order(order: Sequence[Operation]) -> bool:
    """Whether it keeps to the times and the answers."""
    return _keeps_time(order) and _answers(order)


def _keeps_time(order: Sequence[Operation]) -> bool:
    latest_call = -1
    for each in order:
        if each.returned_ns is not None and each.returned_ns < latest_call:
            return False
        latest_call = max(latest_call, each.called_ns)
    return True


def _answers(order: Sequence[Operation]) -> bool:
    value: Hashable = None
    for each in order:
        result, value = applied(each, value)
        if each.outcome is Outcome.OK and result != each.result:
            return False
    return True


def applied(each: Operation, value: Hashable) -> tuple[Hashable, Hashable]:
    """The answer of a register that holds `value`, and what it holds then."""
    match each.kind:
        case Kind.READ:
            return value, value
        case Kind.WRITE:
            return None, each.argument
        case Kind.DELETE:
            return None, None
        case Kind.CAS:
            expected, new = each.changes
            return (True, new) if value == expected else (False, value)


# -- a simulated register ------------------------------------------------------------------------


@dataclass(frozen=True)
class Load:
    """What clients do: the shares of a kind, of lost answers and of failed calls."""

    operations: int
    processes: int = 10
    keys: int = 1
    values: int = 5
    reads: float = 0.4
    writes: float = 0.35
    deletes: float = 0.05
    lost: float = 0.02
    failed: float = 0.02
    pause_ns: int = 30
    length_ns: int = 100


def linearizable_history(random: Random, load: Load) -> list[Operation]:
    """Processes call one register per key, which has each effect at one instant between call and
    return; a lost answer's effect comes at any time after the call, or never."""
    value: dict[Hashable, Hashable] = {}
    history = []
    for at, each in sorted(_calls(random, load), key=lambda call: call[0]):
        if each.outcome is not Outcome.FAILED and at < NEVER:
            result, value[each.key] = applied(each, value.get(each.key))
            if each.outcome is Outcome.OK:
                each = replace(each, result=result)
        history.append(each)
    return sorted(history, key=lambda each: each.called_ns)


def _calls(random: Random, load: Load) -> Iterator[tuple[int, Operation]]:
    """Operations without results, and the instant at which each has its effect."""
    free_at = [random.randrange(1, load.length_ns) for _ in range(load.processes)]
    for number in range(load.operations):
        process = min(range(load.processes), key=free_at.__getitem__)
        called = free_at[process] + random.randrange(1, load.pause_ns + 1)
        returned: int | None = called + random.randrange(load.length_ns)
        assert returned is not None
        at = random.randint(called, returned)
        free_at[process] = returned + 1
        outcome = Outcome.OK
        drawn = random.random()
        if drawn < load.lost:
            late = called + random.randrange(20 * load.length_ns)
            outcome, at = Outcome.UNKNOWN, random.choice((late, NEVER))
            returned = None
        elif drawn < load.lost + load.failed:
            outcome = Outcome.FAILED
        kind, argument = _draw(random, load, number)
        key = random.randrange(load.keys)
        result = False if kind is Kind.CAS and outcome is Outcome.OK else None
        yield at, Operation(process, kind, key, argument, result, called, returned, outcome)


def _draw(random: Random, load: Load, number: int) -> tuple[Kind, Hashable]:
    drawn = random.random()
    value = random.randrange(load.values) if load.values else number
    if drawn < load.reads:
        return Kind.READ, None
    if drawn < load.reads + load.writes:
        return Kind.WRITE, value
    if drawn < load.reads + load.writes + load.deletes:
        return Kind.DELETE, None
    return Kind.CAS, (random.randrange(load.values or number + 1), value)


def mutated(random: Random, history: Sequence[Operation], values: int) -> list[Operation]:
    """The history with one answer or one time changed; it may still be linearizable."""
    changed = list(history)
    at = random.randrange(len(changed))
    each = changed[at]
    if each.outcome is not Outcome.OK:
        changed.pop(at)
        return changed
    assert each.returned_ns is not None
    match random.randrange(3):
        case 0 if each.kind is Kind.READ:
            other = random.choice([None, *range(values)])
            changed[at] = replace(each, result=other)
        case 0 if each.kind is Kind.CAS:
            changed[at] = replace(each, result=not each.result)
        case 1:
            changed[at] = replace(
                each, returned_ns=random.randint(each.called_ns, each.returned_ns)
            )
        case _:
            shift = random.randint(-each.called_ns, 100)
            changed[at] = replace(
                each, called_ns=each.called_ns + shift, returned_ns=each.returned_ns + shift
            )
    return changed
