"""While one newcomer comes after the other, what can wait a moment does; and not for long."""

from __future__ import annotations

from random import Random

import pytest
from small_world import Scripted, done

from protocol import config as presets
from protocol.clocks import MILLISECOND, SECOND, Nanoseconds
from protocol.config import MembershipConfig
from protocol.membership.bustle import CALM, LONGEST, Bustle
from protocol.sim.network import Network
from protocol.sim.world import World

CONFIG = MembershipConfig()
INTERVAL = CONFIG.compare_interval_ns


def test_it_ends_when_nobody_comes_any_more() -> None:
    bustle = Bustle(CONFIG, 0)
    assert not bustle.is_on(0)
    bustle.newcomer(SECOND)
    assert bustle.is_on(SECOND + CALM * INTERVAL - 1)
    assert not bustle.is_on(SECOND + CALM * INTERVAL)


@pytest.mark.parametrize("pace", [INTERVAL, CALM * INTERVAL, 5 * INTERVAL])
def test_it_ends_though_somebody_always_comes_and_begins_again_only_after_a_rest(
    pace: Nanoseconds,
) -> None:
    bustle = Bustle(CONFIG, 0)
    longest = LONGEST * INTERVAL
    now = SECOND
    while now < SECOND + 3 * longest:
        bustle.newcomer(now)
        assert bustle.is_on(now) == (now < SECOND + longest)
        now += pace
    bustle.newcomer(now - pace + longest)
    assert bustle.is_on(now - pace + longest)


def test_a_team_that_starts_at_once_and_is_short_of_time_opens_few_connections() -> None:
    """They are what takes the time: 63 are needed, a connection for each pair would be 2,016."""
    network = Network(Random("network"), delay_mean_ns=MILLISECOND, ordered=True)
    world = World(1, presets.lan(), network, Scripted(done))
    for number in range(64):
        host = world.add_host(found=number == 0, expected=64)
        host.start()
        host.slow_down(20 * MILLISECOND)

    def are_all_known() -> bool:
        peers = [host.peer for host in world.hosts]
        return all(peer and len(peer.membership.alive()) == 63 for peer in peers)

    assert world.run(4 * SECOND, are_all_known)
    connections = sum(len(host.peer.membership.in_touch()) for host in world.hosts if host.peer)
    assert connections // 2 < 3 * 63
