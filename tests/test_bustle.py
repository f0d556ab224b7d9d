"""While one newcomer comes after the other, what can wait a moment does; and not for long."""

from __future__ import annotations

from member_hand import Town

from protocol.clocks import MILLISECOND, SECOND
from protocol.config import MembershipConfig
from protocol.membership.bustle import CALM, LONGEST, Bustle

CONFIG = MembershipConfig()
INTERVAL = CONFIG.compare_interval_ns


def test_it_ends_when_nobody_comes_any_more() -> None:
    bustle = Bustle(CONFIG, 0)
    assert not bustle.is_on(0)
    bustle.newcomer(SECOND)
    assert bustle.is_on(SECOND + CALM * INTERVAL - 1)
    assert not bustle.is_on(SECOND + CALM * INTERVAL)


def test_it_ends_though_somebody_always_comes_and_begins_again_only_after_a_calm() -> None:
    bustle = Bustle(CONFIG, 0)
    longest = LONGEST * INTERVAL
    for now in range(SECOND, SECOND + 3 * longest, INTERVAL):
        bustle.newcomer(now)
        assert bustle.is_on(now) == (now < SECOND + longest)
    calm = now + CALM * INTERVAL
    bustle.newcomer(calm)
    assert bustle.is_on(calm)


def test_a_team_that_starts_at_once_is_whole_with_few_connections() -> None:
    """They are what takes the time: a connection for each pair would be 2,016."""
    town = Town(64)

    def is_whole() -> bool:
        return all(len(town.machine(at).alive()) == 63 for at in range(64))

    while not is_whole():
        town.run(20 * MILLISECOND)
        assert town.now < SECOND
    connections = sum(len(town.machine(at).reach.in_touch()) for at in range(64)) // 2
    assert connections < 2 * 63
    town.run(30 * SECOND)
    assert sum(len(town.machine(at).reach.in_touch()) for at in range(64)) // 2 > 4 * 63
