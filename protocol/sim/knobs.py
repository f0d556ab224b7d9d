"""The protocol's own numbers as a seed may turn them: limits so small that their edges are met."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from random import Random
from typing import Any

from protocol import config as presets
from protocol.clocks import MILLISECOND
from protocol.config import Config


@dataclass(frozen=True, slots=True)
class Knobs:
    """The deviations from a preset; 0 leaves a number as it is."""

    preset: str = "local"
    heartbeat_ns: int = 0
    election_timeout_ns: int = 0
    append_size_max: int = 0
    inflight_max: int = 0
    uncommitted_max: int = 0
    council_size: int = 0
    delta_size_max: int = 0
    fanout_max: int = 0
    piggyback_max: int = 0
    indirect_probes: int = 0
    pending_max: int = 0
    handed_in_max: int = 0
    notes_max: int = 0

    def __str__(self) -> str:
        turned = [
            f"{field.name}={getattr(self, field.name)}"
            for field in fields(self)
            if field.name != "preset" and getattr(self, field.name)
        ]
        return " ".join([f"preset={self.preset}", *turned])


def draw_knobs(random: Random) -> Knobs:
    """Mostly as people run it; in some seeds one or several limits are tiny."""

    def rarely(*values: int) -> int:
        return random.choice(values) if random.random() < 0.2 else 0

    hectic = random.random() < 0.35  # elections that often collide
    return Knobs(
        preset=random.choice(("local", "local", "local", "lan", "wan")),
        heartbeat_ns=40 * MILLISECOND if hectic else 0,
        election_timeout_ns=random.choice((100, 200)) * MILLISECOND if hectic else 0,
        append_size_max=rarely(1, 300, 2_000),
        inflight_max=rarely(1, 2),
        uncommitted_max=rarely(2, 5),
        council_size=rarely(1, 3, 7),
        delta_size_max=rarely(1, 1_000),
        fanout_max=rarely(1, 2),
        piggyback_max=rarely(1, 3),
        indirect_probes=rarely(1),
        pending_max=rarely(4, 8),
        handed_in_max=rarely(1, 2),
        notes_max=rarely(1),
    )


def config_of(knobs: Knobs, slots: int) -> Config:
    """The preset with the knobs turned."""
    base = presets.PRESETS[knobs.preset]()
    return Config(
        membership=_turned(base.membership, knobs),
        gossip=_turned(base.gossip, knobs),
        raft=_turned(base.raft, knobs),
        team=replace(_turned(base.team, knobs), slots=slots),
    )


def _turned(part: Any, knobs: Knobs) -> Any:
    names = {field.name for field in fields(part)} & {field.name for field in fields(knobs)}
    changes = {name: getattr(knobs, name) for name in sorted(names) if getattr(knobs, name)}
    return replace(part, **changes)
