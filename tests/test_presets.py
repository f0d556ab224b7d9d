"""What is promised of the presets: in which time a crash, a silence and a cut are known follows
from each one's numbers, and holds for machines by hand, in virtual time."""

from __future__ import annotations

import pytest
from member_hand import Town

from node.cli.team_verbs import Preset
from node.settings import parser
from protocol.clocks import MILLISECOND, Nanoseconds
from protocol.config import PRESETS, MembershipConfig
from protocol.events import LinkFault
from protocol.facts.membership import MemberFailed, MemberSuspected, TeamSplit
from protocol.membership.suspicion import suspicion_timeout

HOPS = {  # half of the round trip that a preset is made for
    "local": MILLISECOND // 10,
    "lan": 5 * MILLISECOND,
    "wan": 150 * MILLISECOND,
}
SIZES = (5, 16)
on_each_preset = pytest.mark.parametrize("preset", PRESETS)
in_each_size = pytest.mark.parametrize("size", SIZES)
at_each_time = pytest.mark.parametrize("fifth", range(5))  # of an interval of the probes


def numbers_of(preset: str) -> MembershipConfig:
    return PRESETS[preset]().membership


def known_by(preset: str, size: int) -> Nanoseconds:
    """The time in which all know of a silence. Within two intervals somebody probes the silent
    node, for its turn in the one may be early, and in the next late. The direct probe and the
    indirect one take three time-outs, as long as others need to confirm it; the suspicion, which is
    looked at twice an interval; and word of it a few hops."""
    config = numbers_of(preset)
    probed = 2 * config.probe_interval_ns
    unanswered = 3 * config.probe_timeout_ns
    shortest = suspicion_timeout(config, size, confirmations=0, wanted=0)
    suspected = max(shortest, unanswered) + config.probe_interval_ns // 2
    return probed + unanswered + suspected + 4 * HOPS[preset]


def settled(preset: str, size: int, fifth: int = 0) -> Town:
    config = numbers_of(preset)
    town = Town(size, config, HOPS[preset])
    town.run(5 * config.probe_interval_ns)
    assert all(len(town.machine(at).alive()) == size - 1 for at in range(size))
    town.run(fifth * config.probe_interval_ns // 5)
    town.facts.clear()
    return town


def lost(town: Town, at: int) -> set[int]:
    """Numbers of those that failed at one."""
    told = town.told(MemberFailed, at)
    return {town.nodes.index(fact.node) for fact in told if isinstance(fact, MemberFailed)}


@on_each_preset
@in_each_size
def test_nobody_is_suspected_at_the_round_trip_that_a_preset_is_made_for(
    preset: str, size: int
) -> None:
    town = settled(preset, size)
    town.run(30 * town.config.probe_interval_ns)
    assert town.told(MemberSuspected) == []


@on_each_preset
@in_each_size
def test_a_crash_is_known_in_a_few_hops(preset: str, size: int) -> None:
    """Connections break, who had them dials, and is refused: nobody waits for a timer but that
    which gathers news."""
    town = settled(preset, size)
    town.stop(size - 1)
    for at in range(4):
        turn = town.turn()
        town.machine(at).undeliverable(turn, town.nodes[-1], "", LinkFault.RESET, "")
        town.end(at, turn)
    town.run(6 * town.hop + town.config.gather_ns)
    assert [lost(town, at) for at in range(size - 1)] == [{size - 1}] * (size - 1)


@on_each_preset
@in_each_size
@at_each_time
def test_a_crash_that_no_connection_tells_is_known_by_the_next_probe(
    preset: str, size: int, fifth: int
) -> None:
    town = settled(preset, size, fifth)
    town.stop(size - 1)
    town.run(2 * town.config.probe_interval_ns + 6 * town.hop + town.config.gather_ns)
    assert [lost(town, at) for at in range(size - 1)] == [{size - 1}] * (size - 1)


@on_each_preset
@in_each_size
@at_each_time
def test_a_silence_is_known_in_time_and_not_before_it_could_be_refuted(
    preset: str, size: int, fifth: int
) -> None:
    town = settled(preset, size, fifth)
    town.isolate(size - 1)
    town.run(suspicion_timeout(town.config, size, confirmations=0, wanted=0))
    assert town.told(MemberFailed) == []
    town.run(known_by(preset, size) - suspicion_timeout(town.config, size, 0, 0))
    assert [lost(town, at) for at in range(size - 1)] == [{size - 1}] * (size - 1)


@on_each_preset
@in_each_size
@at_each_time
def test_a_cut_is_known_in_the_time_of_a_silence_and_its_sides_two_intervals_later(
    preset: str, size: int, fifth: int
) -> None:
    town = settled(preset, size, fifth)
    half = size // 2
    sides = [set(range(half)), set(range(half, size))]
    town.cut = {(a, b) for one in (0, 1) for a in sides[one] for b in sides[1 - one]}
    town.run(known_by(preset, size))
    for at in range(size):
        assert lost(town, at) == sides[at < half]
    town.run(2 * town.config.probe_interval_ns)
    for at in range(size):
        here, there = (half, size - half) if at < half else (size - half, half)
        assert town.told(TeamSplit, at) == [TeamSplit(here, there)]


def test_the_readme_says_how_soon_a_silence_is_known() -> None:
    seconds = [known_by(preset, SIZES[-1]) / 10**9 for preset in ("local", "lan", "wan")]
    assert seconds == pytest.approx([3, 5, 17], abs=0.5)


def test_every_preset_can_be_chosen() -> None:
    assert {each.value for each in Preset} == set(PRESETS)
    shown = parser().format_help()
    assert all(name in shown.partition("--preset")[2] for name in PRESETS)
