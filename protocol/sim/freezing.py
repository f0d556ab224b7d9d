"""Copies and keys of a live machine, for a search that must go back to where it was.

    fork(machine)      an independent copy; what cannot change is shared
    frozen(machine)    a hashable value: machines with equal values behave alike for ever

Both walk whatever attributes they find, so that a field that is added to a machine is copied and
compared without a word here: a forgotten one would merge states that differ. What is left out of
the key is named: what never changes, what follows from the rest, and what only people look at.
About ten times as fast as `copy.deepcopy`, which copies immutable things too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from enum import Enum
from functools import cache
from random import Random
from types import FunctionType
from typing import TypeVar, cast

T = TypeVar("T")

CONSTANT = frozenset({"config", "random", "check_state"})
DERIVED = frozenset(
    {"_chains", "_base_chain", "_configurations", "_origin", "_marks", "_identity", "_encoded"}
)
FOR_PEOPLE = frozenset({"refusals"})  # told by `protocol.diagnosis`, and decides nothing
LEFT_OUT = CONSTANT | DERIVED | FOR_PEOPLE

_ATOMS = (int, str, bytes, float, type(None), bool)


class NoChance(Random):
    """A `Random` that always draws the lowest: where time plays no part, neither does chance."""

    def random(self) -> float:
        return 0.0

    def getrandbits(self, k: int, /) -> int:
        return 0

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        return 0 if stop is None else start


def fork(value: T) -> T:
    """An independent copy of a machine and all that is its own."""
    return cast(T, _fork(value, {}))


def _fork(value: object, known: dict[int, object]) -> object:
    kind: type = type(value)
    if _is_shared(kind):
        return value
    if id(value) in known:  # the way back to the owner
        return known[id(value)]
    if kind is dict:
        pairs = cast(dict[object, object], value).items()
        return {key: _fork(each, known) for key, each in pairs}
    if kind is list:
        return [_fork(each, known) for each in cast(list[object], value)]
    if kind is deque:
        return deque([_fork(each, known) for each in cast("deque[object]", value)])
    if kind is set:
        return set(cast(set[object], value))
    if kind is bytearray:
        return bytearray(cast(bytearray, value))
    copy: object = object.__new__(kind)
    known[id(value)] = copy
    for name in _names(value):
        object.__setattr__(copy, name, _fork(getattr(value, name), known))
    return copy


def frozen(value: object) -> Hashable:
    """A hashable value that stands for all that decides what the machine will do."""
    return _frozen(value, set())


def _frozen(value: object, owners: set[int]) -> Hashable:
    kind: type = type(value)
    if _is_shared(kind):
        return value
    if id(value) in owners:  # the way back
        return kind.__name__
    if kind is dict:
        pairs = cast(dict[str, object], value).items()
        return tuple(sorted((key, _frozen(each, owners)) for key, each in pairs))
    if kind is list or kind is deque:
        return tuple([_frozen(each, owners) for each in cast(list[object], value)])
    if kind is set:
        return frozenset(cast(set[Hashable], value))
    if kind is bytearray:
        return bytes(cast(bytearray, value))
    owners.add(id(value))
    parts = [
        _frozen(getattr(value, name), owners) for name in _names(value) if name not in LEFT_OUT
    ]
    owners.remove(id(value))
    return (kind.__name__, *parts)


@cache
def _is_shared(kind: type) -> bool:
    """Whether values of this class never change. A tuple is taken to hold such values only."""
    parameters = getattr(kind, "__dataclass_params__", None)
    return (
        kind is tuple
        or kind is frozenset
        or issubclass(kind, (*_ATOMS, Enum, Random, FunctionType))
        or (parameters is not None and parameters.frozen)
    )


def _names(value: object) -> list[str]:
    """The attributes that an object has, in an order that is always the same."""
    kind: type = type(value)
    names = _slots(kind)
    return [*names, *sorted(vars(value))] if hasattr(value, "__dict__") else names


@cache
def _slots(kind: type) -> list[str]:
    return [name for base in kind.__mro__ for name in getattr(base, "__slots__", ())]
