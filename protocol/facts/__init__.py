"""Facts: what happened, in the past tense, one small frozen class each.

Machines speak to each other only through facts that `Peer` carries; logs, progress, checkers and
studies read the same stream. A fact's `str` is one log line and begins with its mark:

    <  came in      >  went out      =  role or agreement      ~  membership
    *  task         +  store         !  error
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Fact:
    """Base of all facts."""

    mark: ClassVar[str] = "?"

    def __str__(self) -> str:
        kind = type(self)
        names = _NAMES.get(kind)
        if names is None:
            names = _NAMES[kind] = tuple(field.name for field in fields(self))
        details = " ".join([f"{name}={_plain(getattr(self, name))}" for name in names])
        return f"{self.mark} {kind.__name__} {details}".rstrip()


@dataclass(frozen=True, slots=True)
class RequestRefused(Fact):
    """A client's or peer's request could not be served."""

    mark = "!"
    reason: str


_NAMES: dict[type[Fact], tuple[str, ...]] = {}  # the fields of each kind; asking is slow


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(_plain(item) for item in value)
    text = str(value)
    return repr(text) if " " in text or "\n" in text or not text else text
