"""A mutant: the protocol with one rule taken out. `Breeder` collects those of a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest

F = TypeVar("F")


@dataclass(frozen=True, slots=True)
class Mutant:
    """`rule` is what it lacks; each patch is (class, name of its attribute, what stands there)."""

    name: str
    rule: str
    patches: tuple[tuple[Any, str, object], ...]

    def breed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """From here on, until the patch is undone, all machines lack the rule."""
        for place, name, instead in self.patches:
            monkeypatch.setattr(place, name, instead)


@dataclass(slots=True)
class Breeder:
    """The mutants of one file by name, in the order in which they stand there."""

    mutants: dict[str, Mutant] = field(default_factory=dict)

    def instead_of(self, name: str, rule: str, *places: tuple[Any, str]) -> Any:
        """Declare a mutant: the function below stands at these places."""

        def declare(function: F) -> F:
            self.add(name, rule, *((*place, function) for place in places))
            return function

        return declare

    def add(self, name: str, rule: str, *patches: tuple[Any, str, object]) -> None:
        """Declare a mutant that is no single function."""
        assert name not in self.mutants, f"two mutants are called {name}"
        self.mutants[name] = Mutant(name, rule, patches)
