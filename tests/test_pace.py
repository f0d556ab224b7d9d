"""The pace of own writes: additive increase, multiplicative decrease, and nothing is lost."""

from __future__ import annotations

from random import Random

from protocol.clocks import MILLISECOND, SECOND
from protocol.config import GossipConfig
from protocol.gossip import Gossip
from protocol.identity import Identity
from protocol.messages.sharing import Delta
from protocol.pace import Pace, Write
from protocol.sim.studies import scuttlebutt
from protocol.store import Store
from protocol.turn import Turn

CONFIG = GossipConfig(pace_min=5.0, pace_step=1.0, pace_calm_ticks=3, pace_waiting_max=4)
TICK = CONFIG.tick_ns


def writes(*keys: str) -> list[Write]:
    return [(key, b"x") for key in keys]


def busy(rate: int = 40) -> Pace:
    """One that has been asked for so many entries a second for a while; its time is 10 s."""
    pace = Pace(CONFIG, 0)
    for tick in range(1, 51):
        for number in range(rate * TICK // SECOND):
            assert len(pace.admit(writes(f"{number}"), tick * TICK)) == 1
        pace.tick(tick * TICK)
    return pace


def test_without_overload_nothing_waits() -> None:
    pace = Pace(CONFIG, 0)
    many = writes(*map(str, range(1_000)))
    assert pace.admit(many, 0) == many
    assert (pace.limit, pace.waiting, pace.due()) == (None, 0, None)


def test_the_first_overload_halves_what_was_written_of_late() -> None:
    pace = busy(40)
    pace.overloaded()
    assert pace.limit is not None
    assert abs(pace.limit - 20) < 1


def test_the_rate_is_halved_once_a_tick_and_never_below_the_least() -> None:
    pace = busy(40)
    pace.overloaded()
    first = pace.limit
    pace.overloaded()
    assert pace.limit == first
    for tick in range(51, 60):
        pace.tick(tick * TICK)
        pace.overloaded()
    assert pace.limit == CONFIG.pace_min


def test_a_calm_tick_raises_it_by_a_step_and_one_with_overload_does_not() -> None:
    pace = busy(40)
    pace.overloaded()
    limit = pace.limit
    assert limit is not None
    pace.tick(51 * TICK)
    assert pace.limit == limit, "it was overloaded in this tick"
    pace.tick(52 * TICK)
    assert pace.limit == limit + CONFIG.pace_step


def test_under_overload_writes_wait_their_turn_in_order() -> None:
    pace = busy()
    pace.overloaded()
    limit = pace.limit
    assert limit is not None
    now = 51 * TICK
    pace.admit(writes(*(f"spend {n}" for n in range(4))), now)
    got = [key for key, _ in pace.admit(writes("a", "b"), now)]
    due = pace.due()
    assert due is not None
    while (due := pace.due()) is not None:
        assert due > now
        now = due
        got += [key for key, _ in pace.admit((), now)]
    assert got[-2:] == ["a", "b"]
    assert now >= 51 * TICK + SECOND / limit


def test_a_later_value_takes_the_place_of_the_one_that_waits() -> None:
    pace = busy()
    pace.overloaded()
    pace.admit(writes("1", "2", "3", "4"), 50 * TICK)
    pace.admit([("4", b"newer")], 50 * TICK)
    rest = []
    while (due := pace.due()) is not None:
        rest += pace.admit((), due)
    assert rest[-1] == ("4", b"newer")
    assert len({key for key, _ in rest}) == len(rest)


def test_what_does_not_fit_into_the_queue_is_written_at_once() -> None:
    pace = busy()
    pace.overloaded()
    many = writes(*map(str, range(100)))
    at_once = pace.admit(many, 50 * TICK)
    rest = []
    while (due := pace.due()) is not None:
        rest += pace.admit((), due)
    assert sorted(key for key, _ in [*at_once, *rest]) == sorted(key for key, _ in many)
    assert len(rest) <= CONFIG.pace_waiting_max


def test_the_limit_ends_once_it_is_calm_and_nothing_waits() -> None:
    pace = busy()
    pace.overloaded()
    for tick in range(51, 51 + CONFIG.pace_calm_ticks):
        pace.tick(tick * TICK)
    assert pace.limit is not None
    pace.tick((51 + CONFIG.pace_calm_ticks) * TICK)
    assert pace.limit is None


def test_a_delta_with_more_to_follow_is_overload() -> None:
    gossip = Gossip(Store(Identity(b"a" * 32), "team", 100), CONFIG, Random(1), 0)
    gossip.receive(Turn(0, 0, 1), Identity(b"b" * 32).node, Delta((), (), more=True))
    assert gossip.pace.limit == CONFIG.pace_min


def test_what_waits_is_written_when_it_is_due() -> None:
    gossip = Gossip(Store(Identity(b"a" * 32), "team", 100), CONFIG, Random(1), 0)
    gossip.overflowed()
    gossip.write(Turn(0, 0, 1), writes("a", "b"))
    assert gossip.store.scan() == []
    now = 0
    while gossip.pace.waiting:
        now = max(now + MILLISECOND, min(gossip.deadline(), now + SECOND))
        gossip.keep_pace(Turn(now, now, 1))
        assert now < 2 * SECOND
    assert gossip.store.scan() == ["a", "b"]
    assert now <= SECOND


def test_the_pace_bounds_staleness_and_is_fair() -> None:
    """A small one of the study: five nodes for a while."""
    stale = {}
    for name, config in (("paced", scuttlebutt.PACED), ("unpaced", scuttlebutt.UNPACED)):
        found = scuttlebutt.overload(config, seed=3, nodes=5, capacity=15_000)
        stale[name] = found.during[-1].mean_s
        if name == "paced":
            assert found.fairness > 0.95
            assert found.level_after_s is not None
    assert stale["unpaced"] > 30
    assert stale["paced"] < stale["unpaced"] / 2
