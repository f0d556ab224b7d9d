"""The team's pace: an endpoint's limit is kept by all nodes together, and used."""

from __future__ import annotations

from random import Random

import pytest
from ledger_hand import job, task
from small_world import SmallWorld, done

from protocol import codec
from protocol.clocks import MILLISECOND, SECOND, Alarm, Nanoseconds
from protocol.effects import Assignment
from protocol.events import AgentFailed, Completed, RateLimited
from protocol.facts.work import EndpointRefused, TaskAccepted
from protocol.identity import Identity, NodeId
from protocol.jobs import Usage
from protocol.store import Store
from protocol.team.pacing import LISTEN, Pace, Pacing
from protocol.team.view import View
from protocol.turn import Turn

SELF, OTHER = Identity(b"s" * 32), Identity(b"o" * 32)
VIEW = View(frozenset({SELF.node, OTHER.node}), frozenset(), SELF.node)


class Shop:
    """A model behind a limit, and who was served when. Its bucket holds a second's calls."""

    def __init__(self, rate: float, took: Nanoseconds = SECOND // 5) -> None:
        self.rate_s = rate
        self.took = took
        self.left = rate
        self.at: Nanoseconds = 0
        self.served: list[Nanoseconds] = []
        self.refused: list[Nanoseconds] = []

    def perform(self, assignment: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
        return done(assignment, self.took, Usage(1, 10, 10))

    def refuses(self, now: Nanoseconds) -> Nanoseconds:
        self.left = min(self.rate_s, self.left + (now - self.at) / SECOND * self.rate_s)
        self.at = now
        if self.left >= 1.0:
            self.left -= 1.0
            self.served.append(now)
            return 0
        self.refused.append(now)
        return SECOND


def shopping(size: int, shop: Shop, said: float, tasks: int) -> SmallWorld:
    """A team that has so many tasks to do, each a call; it was told `said` calls a second."""
    world = SmallWorld(size, shop.perform)
    world.agents.rate = int(said * 1_000)
    world.agents.refuses = shop.refuses  # type: ignore[method-assign]
    world.do(job(*[task(f"t{number}") for number in range(tasks)]), within=600 * SECOND)
    return world


def rate_of(times: list[Nanoseconds], begin: Nanoseconds, end: Nanoseconds) -> float:
    return sum(begin <= at < end for at in times) / ((end - begin) / SECOND)


def test_sixteen_nodes_keep_a_limit_together_and_use_it() -> None:
    """Goal: after the first second under 2 % are refused, and the limit is used within 10 %."""
    shop = Shop(10.0)
    world = shopping(16, shop, said=10.0, tasks=160)
    first = min(shop.served) + SECOND
    calls = [at for at in (*shop.served, *shop.refused) if at >= first]
    assert sum(at >= first for at in shop.refused) <= 0.02 * len(calls)
    last = max(shop.served) - 2 * SECOND
    assert 9.0 <= rate_of(shop.served, first, last) <= 10.0
    assert len({fact.task for _, _, fact in world.diary.of(TaskAccepted)}) == 160


def test_a_refusal_slows_the_whole_team_down() -> None:
    """Nobody has said what the limit is: the first 429 tells, and is heard by all."""
    shop = Shop(10.0)
    world = shopping(16, shop, said=0.001, tasks=1)  # a limit of next to nothing is said ...
    assert world.is_finished()
    shop = Shop(10.0)
    world = SmallWorld(16, shop.perform)
    world.agents.refuses = shop.refuses  # type: ignore[method-assign]
    world.agents.rate = 1_000_000_000  # ... and now one that is none
    world.do(job(*[task(f"t{number}") for number in range(100)]), within=600 * SECOND)
    assert world.diary.of(EndpointRefused)
    assert len(shop.refused) <= 0.2 * len(shop.served), "no storm"


def test_a_node_alone_has_all_of_it() -> None:
    shop = Shop(5.0, took=MILLISECOND)
    shopping(1, shop, said=5.0, tasks=30)
    first = min(shop.served)
    assert 4.5 <= rate_of(shop.served, first, max(shop.served)) <= 5.0
    assert not shop.refused


# -- one node's bucket, by hand --------------------------------------------------------------------


def pacing(store: Store | None = None) -> Pacing:
    return Pacing(SELF.node, store or Store(SELF, "team", 1_000), Random(1), Alarm())


def hear(machine: Pacing, store: Store, pace: Pace, now: Nanoseconds) -> bool:
    """As if the other node had written it."""
    other = Store(OTHER, "team", 1_000)
    while other.last_of(OTHER.node) < store.last_of(OTHER.node):
        other.write([("x", b"")], 0)
    key = f"rate/model/{pace.node}"
    encoded, _ = other.write([(key, codec.pack_value(pace))], now)
    store.merge(encoded)
    return machine.learn(key, now)


def test_a_bucket_holds_one_call() -> None:
    machine = pacing()
    for _ in range(3):
        machine.waits(0, "model", 10_000)
    assert not machine.admits(0, VIEW, "model"), "it listens first"
    assert machine.admits(LISTEN, VIEW, "model")
    machine.begins("model", LISTEN)
    assert not machine.admits(LISTEN + 1, VIEW, "model")
    assert not machine.admits(LISTEN + SECOND // 20, VIEW, "model")
    assert machine.admits(10 * SECOND, VIEW, "model")
    machine.begins("model", 10 * SECOND)
    assert not machine.admits(10 * SECOND + 1, VIEW, "model"), "what was not used is not saved up"


def waits_for(machine: Pacing, begin: Nanoseconds, view: View = VIEW) -> float:
    """Seconds until the next call may begin."""
    at = begin
    while not machine.admits(at, view, "model"):
        at += 5 * MILLISECOND
    return (at - begin) / SECOND


def test_shares_follow_demand() -> None:
    store = Store(SELF, "team", 1_000)
    machine = pacing(store)
    machine.waits(0, "model", 10_000)
    assert hear(machine, store, Pace(OTHER.node, 3, 10_000, 0, 0), 0)
    at = int(waits_for(machine, 0) * SECOND)
    machine.begins("model", at)
    machine.leaves("model")
    machine.waits(at, "model", 10_000)  # demand 2 of 5: four calls a second, but for the margin
    assert 0.25 <= waits_for(machine, at) <= 0.27


def test_a_node_that_is_not_there_wants_nothing() -> None:
    store = Store(SELF, "team", 1_000)
    machine = pacing(store)
    hear(machine, store, Pace(OTHER.node, 100, 10_000, 0, 0), 0)
    machine.waits(0, "model", 10_000)
    machine.begins("model", 0)
    alone = View(frozenset({SELF.node}), frozenset({OTHER.node}), SELF.node)
    assert waits_for(machine, LISTEN, alone) <= 0.11


def test_who_hears_of_a_refusal_waits_as_long() -> None:
    store = Store(SELF, "team", 1_000)
    machine = pacing(store)
    machine.waits(0, "model", 0)
    assert machine.admits(0, VIEW, "model"), "nobody knows of a limit"
    hear(machine, store, Pace(OTHER.node, 1, 0, 5_000, 2_000), 0)
    assert not machine.admits(2 * SECOND - 1, VIEW, "model")
    assert 2.0 <= waits_for(machine, 0) <= 2.5


def test_a_limit_that_was_learnt_grows_and_is_forgotten() -> None:
    machine = pacing()
    machine.waits(0, "model", 0)
    machine.begins("model", 0)
    machine.refused(RateLimited("model", 0), 0)
    assert not machine.admits(1, VIEW, "model")
    assert machine.admits(120 * SECOND, VIEW, "model")
    machine.begins("model", 120 * SECOND)
    assert machine.admits(120 * SECOND + 1, VIEW, "model"), "there is no limit any more"


@pytest.mark.parametrize("damage", [b"", b"\x00", b"\x95"])
def test_what_is_illegible_counts_for_nothing(damage: bytes) -> None:
    store = Store(SELF, "team", 1_000)
    other = Store(OTHER, "team", 1_000)
    key = f"rate/model/{OTHER.node}"
    encoded, _ = other.write([(key, damage)], 0)
    store.merge(encoded)
    assert not pacing(store).learn(key, 0)


def test_nobody_speaks_for_another() -> None:
    store = Store(SELF, "team", 1_000)
    machine = pacing(store)
    forged = Pace(NodeId("somebody"), 1, 0, 1, 60_000)
    assert not hear(machine, store, forged, 0)


def test_what_is_told_changes_seldom() -> None:
    machine = pacing()
    machine.waits(0, "model", 10_000)
    told = 0
    for at in range(0, 10 * SECOND, SECOND // 20):
        if machine.admits(at, VIEW, "model"):
            machine.begins("model", at)
        turn = Turn(at, at, 1)
        machine.tell(turn)
        told += len(turn.writes)
    assert told <= 21
