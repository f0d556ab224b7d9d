"""The protocol's own numbers as a seed may turn them: limits so small that their edges are met."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from random import Random
from typing import Any

from protocol import config as presets
from protocol.clocks import MILLISECOND, SECOND
from protocol.config import Config


@dataclass(frozen=True, slots=True)
class Knobs:
    """The deviations from a preset; the default leaves a number as it is."""

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
    compact_entries: int = 0
    trailing_entries: int = -1  # 0 is a number that it may have
    snapshot_part_size: int = 0
    window_max: int = 0
    batch_size_max: int = 0
    notes_max: int = 0
    push_size_max: int = 0
    collect_interval_ns: int = 0
    forget_after_ns: int = 0
    horizon_ns: int = 0
    tell_ns: int = 0
    gather_ns: int = 0
    pace_min: int = 0
    entries_per_author_max: int = 0

    def __str__(self) -> str:
        turned = [
            f"{field.name}={getattr(self, field.name)}"
            for field in fields(self)
            if field.name == "preset" or getattr(self, field.name) != field.default
        ]
        return " ".join(turned)


def draw_knobs(random: Random, moments: Random) -> Knobs:
    """Mostly as people run it; in some seeds one or several limits are tiny, and a snapshot is
    taken at each entry. `moments` is for what may wait for company."""

    def rarely(*values: int, of: Random = random) -> int:
        return of.choice(values) if of.random() < 0.2 else 0

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
        compact_entries=random.choice((0, 0, 1, 3, 20)),
        trailing_entries=random.choice((-1, 0, 0, 2)),
        snapshot_part_size=random.choice((0, 0, 500, 5_000)),
        window_max=rarely(1, 3),
        batch_size_max=rarely(1, 100),
        push_size_max=rarely(1, 500),
        collect_interval_ns=random.choice((0, 200, 1_000)) * MILLISECOND,
        forget_after_ns=rarely(1, 5) * SECOND,
        horizon_ns=rarely(1, 5) * SECOND,
        tell_ns=rarely(1, 1_000, 5_000, of=moments) * MILLISECOND,
        gather_ns=rarely(1, 200, of=moments) * MILLISECOND,
        pace_min=rarely(1, 5, of=moments),
        entries_per_author_max=rarely(500, 1_000, of=moments),
    )


def config_of(knobs: Knobs, slots: int) -> Config:
    """The preset with the knobs turned."""
    base = presets.PRESETS[knobs.preset]()
    return Config(
        membership=_turned(base.membership, knobs),
        gossip=_turned(base.gossip, knobs),
        raft=_turned(base.raft, knobs),
        clerk=_turned(base.clerk, knobs),
        team=replace(_turned(base.team, knobs), slots=slots),
    )


def _turned(part: Any, knobs: Knobs) -> Any:
    names = {field.name for field in fields(part)}
    changes = {
        knob.name: getattr(knobs, knob.name)
        for knob in fields(knobs)
        if knob.name in names and getattr(knobs, knob.name) != knob.default
    }
    return replace(part, **changes)
