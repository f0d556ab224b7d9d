"""Operations on registers, as clients saw them.

A register holds a value or None, which is to be absent; it begins absent. An operation has effect
at one instant between its call and its return, if it has any: for one whose outcome is unknown
that instant may be any after its call, or none.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from protocol.clocks import Nanoseconds
from protocol.jobs import shown

Value: TypeAlias = Hashable  # None is absent


class Kind(Enum):
    """What is done. The argument is the value to write, for `cas` the pair (expected, new)."""

    READ = "read"
    WRITE = "write"
    CAS = "cas"
    DELETE = "delete"


class Outcome(Enum):
    """What the client knows of it."""

    OK = "ok"
    FAILED = "failed"  # it did not happen
    UNKNOWN = "unknown"  # it may have happened, or may yet


@dataclass(frozen=True, slots=True)
class Operation:
    """One call and its end. The result is what was read, or whether a `cas` changed the value."""

    process: int | str
    kind: Kind
    key: Hashable
    argument: Value
    result: Value
    called_ns: Nanoseconds
    returned_ns: Nanoseconds | None
    outcome: Outcome

    def __post_init__(self) -> None:
        if self.outcome is Outcome.OK:
            assert self.returned_ns is not None, "an answer came at some time"
            assert self.called_ns <= self.returned_ns, "no answer comes before the question"
        if self.outcome is Outcome.UNKNOWN:
            assert self.returned_ns is None, "what is unknown does not end"
        if self.kind is Kind.CAS:
            assert isinstance(self.argument, tuple), "cas takes (expected, new)"
            assert len(self.argument) == 2, "cas takes (expected, new)"
            assert self.outcome is not Outcome.OK or isinstance(self.result, bool)

    @property
    def changes(self) -> tuple[Value, Value]:
        """What a `cas` expects, and what it puts there."""
        assert self.kind is Kind.CAS
        assert isinstance(self.argument, tuple)
        expected, new = self.argument
        return expected, new

    @property
    def looks(self) -> bool:
        """Whether it depends on the value that it found, which a failed or unknown read does not
        tell."""
        return self.kind is Kind.CAS or (self.kind is Kind.READ and self.outcome is Outcome.OK)

    @property
    def looks_for(self) -> Value:
        """The value that it found, or did not find, if it looks."""
        return self.changes[0] if self.kind is Kind.CAS else self.result

    @property
    def is_mismatch(self) -> bool:
        """Whether it is a `cas` that found another value than it expected."""
        return self.kind is Kind.CAS and self.outcome is Outcome.OK and not self.result

    @property
    def mutates(self) -> bool:
        """Whether it may have left another value than it found."""
        if self.outcome is Outcome.FAILED or self.kind is Kind.READ or self.is_mismatch:
            return False
        return self.kind is not Kind.CAS or distinct(self.changes[0]) != distinct(self.changes[1])

    @property
    def gives(self) -> Value:
        """The value that it leaves, if it mutates."""
        match self.kind:
            case Kind.WRITE:
                return self.argument
            case Kind.CAS:
                return self.changes[1]
            case Kind.READ | Kind.DELETE:
                return None

    def __str__(self) -> str:
        process = self.process if isinstance(self.process, int) else shown(self.process)
        begun = f"process {process} {self._told()}"
        if self.returned_ns is None:
            return f"{begun}, from {self.called_ns} ns on"
        return f"{begun}, {self.called_ns} to {self.returned_ns} ns"

    def _told(self) -> str:
        """What happened, as a sentence without its subject."""
        match self.kind:
            case Kind.READ:
                past, verb = f"read {value_shown(self.result)}", "read"
            case Kind.WRITE:
                past = f"wrote {value_shown(self.argument)}"
                verb = f"write {value_shown(self.argument)}"
            case Kind.DELETE:
                past, verb = "deleted", "delete"
            case Kind.CAS:
                change = " to ".join(value_shown(value) for value in self.changes)
                past, verb = f"changed {change}", f"change {change}"
                if self.is_mismatch:
                    past = f"could not change {change}: it found another value"
        match self.outcome:
            case Outcome.OK:
                return past
            case Outcome.FAILED:
                return f"did not {verb}"
            case Outcome.UNKNOWN:
                return f"may {verb}"


def value_shown(value: Value) -> str:
    """A register's value for people."""
    return "nothing" if value is None else shown(value)


def distinct(value: Value) -> Hashable:
    """A stand-in that is equal only for equal values of one type: for Python 1, 1.0 and True are
    equal, in a history they are three values."""
    if isinstance(value, tuple):
        return (tuple, tuple(distinct(part) for part in value))
    return value if type(value) in (int, str) else (type(value), value)
