"""How small a tiny cluster is, and what is rationed in it."""

from __future__ import annotations

from dataclasses import dataclass, fields

NAMES = "abcde"

# What is rationed, in the order of a state's rations; the last stands for what is not.
RATIONS = (
    "entries",
    "heartbeats",
    "resignations",
    "transfers",
    "changes",
    "crashes",
    "duplicates",
    "drops",
)
ENTRIES, HEARTBEATS, RESIGNATIONS, TRANSFERS, CHANGES, CRASHES, DUPLICATES, DROPS, FREE = range(9)


@dataclass(frozen=True, slots=True)
class Bounds:
    """`terms` and `entries` come on top of what the logs begin with: by default one entry of term
    1, the configuration, at every node. `logs`: the terms of each node's log, to begin in the
    middle of a story; it must be one that Raft can have got to."""

    nodes: int = 3
    terms: int = 2
    entries: int = 2
    heartbeats: int = 0
    resignations: int = 0
    transfers: int = 0
    changes: int = 0  # of the voters, to `change_to`
    crashes: int = 0
    duplicates: int = 0  # of Appends and their answers; votes are repeated freely
    drops: int = 0  # that the sender notices; others are free
    change_to: str = "a"
    pre_votes: bool = True  # else granted unasked
    overtaking: bool = True  # else what is overtaken on a link is lost, as with a connection
    slow_disks: bool = False  # else a turn and its write are one
    append_single: bool = False  # one entry in each Append
    logs: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        assert 1 <= self.nodes <= len(NAMES)
        assert not self.logs or len(self.logs) == self.nodes
        assert set(self.change_to) <= set(NAMES[: self.nodes])
        assert all(each >= 0 for each in self.rations)

    def __str__(self) -> str:
        return " ".join(
            f"{field.name}={getattr(self, field.name)}"
            for field in fields(self)
            if getattr(self, field.name) != field.default
            or field.name in ("nodes", "terms", "entries")
        )

    @property
    def rations(self) -> tuple[int, ...]:
        """What there is of each, in order; of what is not rationed there is always one."""
        return (*(getattr(self, name) for name in RATIONS), 1)

    @property
    def starts_alike(self) -> bool:
        """Whether nothing but its name tells one node from another at the beginning."""
        return not self.logs and not self.changes
