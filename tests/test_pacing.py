"""The team's pace: an endpoint's limit is kept by all nodes together, and used."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from ledger_hand import job, task
from small_world import SmallWorld, done
from team_hand import CONFIG, Desk, commands

from protocol import codec
from protocol.clocks import MILLISECOND, SECOND, Alarm, Nanoseconds
from protocol.effects import Assignment, CallGranted
from protocol.events import RETRY_MAX, AgentFailed, CallAsked, Completed, RateLimited
from protocol.facts.work import EndpointRefused, TaskAccepted
from protocol.identity import Identity, NodeId
from protocol.jobs import Budget, Usage
from protocol.store import Store
from protocol.team.lessons import FORGET_AFTER
from protocol.team.pacing import FRESH, LISTEN, REPEAT_AFTER, Pace, Pacing
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
    world.do(job(*[task(f"t{number}") for number in range(60)]), within=600 * SECOND)
    assert world.diary.of(EndpointRefused)
    assert len(shop.refused) <= 0.2 * len(shop.served), "no storm"


def test_a_node_alone_has_all_of_it() -> None:
    shop = Shop(5.0, took=MILLISECOND)
    shopping(1, shop, said=5.0, tasks=30)
    first = min(shop.served)
    assert 4.5 <= rate_of(shop.served, first, max(shop.served)) <= 5.0
    assert not shop.refused


# -- one node's bucket, by hand --------------------------------------------------------------------

WALL = 10**9 * SECOND  # what the nodes' wall clocks said at the beginning


def at(now: Nanoseconds) -> Turn:
    return Turn(now, WALL + now, 1)


def wall_ms(now: Nanoseconds) -> int:
    return (WALL + now) // MILLISECOND


class Bucket:
    """One node's pacing with its store; `other` is the store of another node."""

    def __init__(self) -> None:
        self.store = Store(SELF, "team", 10_000)
        self.other = Store(OTHER, "team", 10_000)
        self.alarm = Alarm()
        self.machine = Pacing(SELF.node, self.store, Random(1), self.alarm)

    def restart(self, now: Nanoseconds = 0) -> None:
        self.machine = Pacing(SELF.node, self.store, Random(1), self.alarm)
        for key in self.store.scan():
            self.machine.learn(None, key)

    def waits(self, now: Nanoseconds, configured: int = 10_000) -> None:
        self.machine.waits(at(now), "model", configured)

    def admits(self, now: Nanoseconds, view: View = VIEW) -> bool:
        return self.machine.admits(now, view, "model")

    def begins(self, now: Nanoseconds) -> None:
        self.machine.begins("model", now)

    def put(self, key: str, value: bytes | None, now: Nanoseconds) -> None:
        """The other node's write comes by gossip."""
        encoded, _ = self.other.write([(key, value)], now)
        self.store.merge(encoded)

    def hear(self, now: Nanoseconds, endpoint: str = "model", **said: int) -> bool:
        """The other node says that."""
        word = Pace(OTHER.node, **{**SILENT, **said})
        key = f"rate/{endpoint}/{OTHER.node}"
        self.put(key, codec.pack_value(word), now)
        return self.machine.learn(at(now), key)

    def tell(self, now: Nanoseconds) -> list[Pace]:
        """What it tells the others; it is in its store then."""
        turn = at(now)
        self.alarm.clear()
        self.machine.tell(turn)
        if turn.writes:
            self.store.write(turn.writes, now)
        return [codec.unpack_value(Pace, value) for _, value in turn.writes if value is not None]

    def waits_for(self, begin: Nanoseconds, view: View = VIEW) -> float:
        """Seconds until the next call may begin."""
        now = begin
        while not self.admits(now, view):
            now += 5 * MILLISECOND
        return (now - begin) / SECOND


SILENT = dict.fromkeys(
    ("demand", "configured", "learnt", "refused_at", "blocked_for", "refused_ago"), 0
)
ALONE = View(frozenset({SELF.node}), frozenset({OTHER.node}), SELF.node)


def test_a_bucket_holds_one_call() -> None:
    bucket = Bucket()
    for _ in range(3):
        bucket.waits(0)
    assert not bucket.admits(0), "it listens first"
    assert bucket.admits(LISTEN)
    bucket.begins(LISTEN)
    assert not bucket.admits(LISTEN + 1)
    assert not bucket.admits(LISTEN + SECOND // 20)
    assert bucket.admits(10 * SECOND)
    bucket.begins(10 * SECOND)
    assert not bucket.admits(10 * SECOND + 1), "what was not used is not saved up"


def test_shares_follow_demand() -> None:
    bucket = Bucket()
    bucket.waits(0)
    assert bucket.hear(0, demand=3, configured=10_000)
    now = int(bucket.waits_for(0) * SECOND)
    bucket.begins(now)
    bucket.machine.leaves("model")
    bucket.waits(now)  # demand 2 of 5: four calls a second, but for the margin
    assert 0.25 <= bucket.waits_for(now) <= 0.27


def test_a_node_that_is_not_there_wants_nothing() -> None:
    bucket = Bucket()
    bucket.waits(0)
    bucket.hear(0, demand=100, configured=10_000)
    bucket.begins(0)
    assert bucket.waits_for(LISTEN, ALONE) <= 0.11


@pytest.mark.parametrize("view", [VIEW, ALONE])
def test_what_somebody_configured_counts_while_it_is_there(view: View) -> None:
    bucket = Bucket()
    bucket.waits(0, configured=0)
    bucket.hear(0, configured=1)
    assert bucket.admits(LISTEN)
    bucket.begins(LISTEN)
    assert bucket.admits(60 * SECOND, view) is (view is ALONE)


def test_nobody_wants_more_than_a_node_can() -> None:
    """Found in a review: such a word left everybody else one call in 1,000 s."""
    bucket = Bucket()
    bucket.waits(0, configured=2_000_000)
    bucket.hear(0, demand=2**62)
    bucket.waits_for(LISTEN)
    bucket.begins(LISTEN)
    assert bucket.waits_for(LISTEN) <= 1.1


# -- refusals --------------------------------------------------------------------------------------


def test_who_hears_of_a_refusal_waits_as_long() -> None:
    bucket = Bucket()
    bucket.waits(0, configured=0)
    assert bucket.admits(0), "nobody knows of a limit"
    bucket.hear(0, demand=1, learnt=5_000, refused_at=wall_ms(0), blocked_for=2_000)
    assert not bucket.admits(2 * SECOND - 1)
    assert 2.0 <= bucket.waits_for(0) <= 2.5


@pytest.mark.parametrize("wrong_by", [-(10**6) * SECOND, -600 * SECOND, 600 * SECOND])
def test_how_long_to_wait_does_not_depend_on_another_s_clock(wrong_by: Nanoseconds) -> None:
    """It was told as a time of day: who had a clock that was fast did not wait at all, and who had
    a slow one waited as long as it ever does."""
    bucket = Bucket()
    bucket.waits(0, configured=0)
    refusal = {"learnt": 5_000, "refused_at": wall_ms(wrong_by), "blocked_for": 10_000}
    bucket.hear(SECOND, demand=1, **refusal, refused_ago=1_000)
    assert not bucket.admits(10 * SECOND - 1)
    bucket.hear(5 * SECOND, demand=2, **refusal, refused_ago=4_000)  # a second on its way
    assert 10.0 <= bucket.waits_for(0) <= 10.5
    now = 10 * SECOND + FORGET_AFTER
    bucket.begins(now - 1)
    assert not bucket.admits(now - 1), "the limit counts from the end of the wait on"
    assert bucket.admits(now)


def test_the_longest_wait_is_the_same_for_all() -> None:
    bucket = Bucket()
    bucket.waits(0, configured=0)
    bucket.machine.refused(at(0), RateLimited("model", 10**6 * SECOND))
    (word,) = bucket.tell(0)
    assert word.blocked_for * MILLISECOND == RETRY_MAX
    assert not bucket.admits(RETRY_MAX - 1)
    assert bucket.admits(RETRY_MAX + SECOND)
    other = Bucket()
    other.waits(0, configured=0)
    other.hear(0, demand=1, learnt=800, refused_at=wall_ms(0), blocked_for=10**9)
    assert not other.admits(RETRY_MAX - 1)
    assert other.admits(RETRY_MAX + 2 * SECOND)


def test_a_refusal_that_asks_for_less_does_not_end_the_wait_for_another() -> None:
    bucket = Bucket()
    bucket.waits(0, configured=0)
    bucket.machine.refused(at(0), RateLimited("model", 20 * SECOND))
    bucket.machine.refused(at(SECOND), RateLimited("model", SECOND))
    (word,) = bucket.tell(SECOND)
    assert (word.refused_at, word.blocked_for) == (wall_ms(SECOND), 19_000)
    assert not bucket.admits(20 * SECOND - 1)


def test_who_waited_says_so_when_that_is_over() -> None:
    """Who comes later knows then, whatever its clock says."""
    bucket = Bucket()
    bucket.waits(0, configured=0)
    bucket.machine.leaves("model")
    bucket.machine.refused(at(0), RateLimited("model", 30 * SECOND))
    told = [(0, word.is_over) for word in bucket.tell(0)]
    while (now := bucket.alarm.at) is not None:
        told += [(now, word.is_over) for word in bucket.tell(now)]
    assert told[0] == (0, False)
    assert next(at for at, is_over in told if is_over) == 30 * SECOND
    late = {"learnt": 1, "refused_at": wall_ms(600 * SECOND), "blocked_for": 30_000}
    for refused_ago, is_admitted in ((29_000, False), (30_000, True)):
        newcomer = Bucket()
        newcomer.hear(0, **late, refused_ago=refused_ago)
        newcomer.waits(0, configured=10**9)
        newcomer.admits(LISTEN)
        assert (newcomer.waits_for(LISTEN) < 0.9) is is_admitted


def test_a_refusal_that_is_over_stops_nobody_who_comes_later() -> None:
    """Found in a review: a newcomer waited for a minute anew, and told everybody to."""
    bucket = Bucket()
    bucket.hear(0, learnt=1, refused_at=wall_ms(-120 * SECOND), blocked_for=60_000)
    bucket.waits(0, configured=0)
    assert bucket.admits(0)
    refusal = {"refused_at": wall_ms(10**6 * SECOND), "blocked_for": 10**9}
    bucket.hear(0, **refusal)
    assert not bucket.admits(RETRY_MAX - 1)
    assert bucket.admits(RETRY_MAX)
    bucket.hear(RETRY_MAX, demand=1, **refusal)
    assert bucket.admits(RETRY_MAX), "it has been heard"


def test_a_node_tells_only_what_it_has_met_with_itself() -> None:
    """Found in a review: two that repeated each other's lessons kept both alive for ever."""
    bucket = Bucket()
    bucket.waits(0, configured=0)
    bucket.begins(0)
    lesson = {"learnt": 5_000, "refused_at": wall_ms(0), "blocked_for": 1_000}
    bucket.hear(0, demand=1, **lesson)
    (word,) = bucket.tell(0)
    assert word == Pace(SELF.node, **{**SILENT, "demand": 2})
    bucket.machine.refused(at(SECOND), RateLimited("model", SECOND))
    (word,) = bucket.tell(SECOND)
    assert (word.refused_at, word.blocked_for) == (wall_ms(SECOND), 1_000)
    bucket.machine.leaves("model")
    told = 0
    for now in range(SECOND, 120 * SECOND, SECOND // 2):
        bucket.hear(now, **{**lesson, "demand": now // SECOND % 2})
        told += len(bucket.tell(now))
    assert told <= 3, "that it waits no more, and asks no more"
    assert bucket.admits(120 * SECOND)
    bucket.begins(120 * SECOND)
    assert bucket.admits(120 * SECOND + 1), "both are forgotten"


def test_of_all_lessons_the_lowest_counts() -> None:
    bucket = Bucket()
    bucket.waits(0, configured=0)
    bucket.begins(0)
    bucket.machine.refused(at(0), RateLimited("model", 0))  # 1,000 in 1,000 s
    bucket.hear(0, learnt=100, refused_at=wall_ms(0))
    bucket.waits_for(0)
    bucket.begins(LISTEN)
    assert bucket.waits_for(LISTEN) >= 5.0
    bucket.hear(30 * SECOND, learnt=500, refused_at=wall_ms(30 * SECOND))
    bucket.begins(30 * SECOND)
    assert 1.5 <= bucket.waits_for(30 * SECOND) <= 2.1


def test_a_lesson_is_no_younger_for_being_told_again() -> None:
    """Whatever the clock of its author says."""
    bucket = Bucket()
    bucket.waits(0, configured=0)
    for now in range(0, 100 * SECOND, 10 * SECOND):
        bucket.hear(now, demand=now // SECOND, learnt=1, refused_at=wall_ms(10**6 * SECOND))
    bucket.waits_for(0)
    bucket.begins(100 * SECOND)
    assert bucket.admits(100 * SECOND)


def test_a_limit_that_was_learnt_grows_and_is_forgotten() -> None:
    bucket = Bucket()
    bucket.waits(0, configured=0)
    bucket.begins(0)
    bucket.machine.refused(at(0), RateLimited("model", 0))
    assert not bucket.admits(1)
    assert bucket.admits(120 * SECOND)
    bucket.begins(120 * SECOND)
    assert bucket.admits(120 * SECOND + 1), "there is no limit any more"


# -- words -----------------------------------------------------------------------------------------


def test_who_begins_to_ask_knows_what_was_said_before() -> None:
    bucket = Bucket()
    assert not bucket.hear(0, demand=1, configured=100), "it does not ask there"
    bucket.waits(0, configured=0)
    assert not bucket.admits(0), "it listens"
    bucket.waits_for(LISTEN)
    bucket.begins(10 * SECOND)
    assert not bucket.admits(15 * SECOND)


def test_nobody_makes_a_node_keep_what_it_does_not_ask_for() -> None:
    """Found in a review: of 1,000 invented endpoints each node kept and wrote 1,000 words."""
    bucket = Bucket()
    bucket.waits(0)
    for number in range(100):
        assert not bucket.hear(0, f"invented{number}", learnt=1, refused_at=wall_ms(0))
    assert len(bucket.tell(0)) == 1
    assert list(bucket.machine._endpoints) == ["model"]


def test_demand_that_does_not_change_is_told_again() -> None:
    """Found in a review: after ten seconds each node took itself for the only one."""
    bucket = Bucket()
    for _ in range(3):
        bucket.waits(0)
    told, now = [], 0
    while now < 60 * SECOND:
        told += [now] * len(bucket.tell(now))
        assert bucket.alarm.at is not None
        now = bucket.alarm.at
    gaps = [later - earlier for earlier, later in pairwise(told)]
    assert max(gaps) < FRESH
    assert min(gaps) >= REPEAT_AFTER


def test_nodes_that_always_have_calls_waiting_keep_a_low_limit() -> None:
    """The same in a team: at one call in ten seconds nothing changes for long."""
    shop = Shop(1.0)
    world = SmallWorld(4, shop.perform)
    world.agents.rate = 100
    world.agents.refuses = shop.refuses  # type: ignore[method-assign]
    world.submit(job(*[task(f"t{number}") for number in range(40)]))
    world.run(200 * SECOND)
    assert 10 <= len(shop.served) + len(shop.refused) <= 22


def test_what_an_earlier_life_wanted_is_taken_back() -> None:
    bucket = Bucket()
    bucket.waits(0)
    bucket.begins(0)
    bucket.machine.refused(at(0), RateLimited("model", 30 * SECOND))
    (before,) = bucket.tell(0)
    bucket.restart()
    (after,) = bucket.tell(SECOND)
    assert after == replace(before, demand=0, configured=0, refused_ago=1_000)
    bucket.restart()
    bucket.waits(2 * SECOND, configured=0)
    assert not bucket.admits(30 * SECOND - 1), "it remembers that it was refused"
    bucket.machine.leaves("model")
    (over,) = bucket.tell(60 * SECOND)
    assert over.is_over
    assert bucket.tell(90 * SECOND) == []


def test_who_takes_its_word_back_has_said_nothing() -> None:
    bucket = Bucket()
    bucket.waits(0)
    bucket.hear(0, demand=100)
    key = f"rate/model/{OTHER.node}"
    bucket.put(key, None, 0)
    assert bucket.machine.learn(at(0), key)
    bucket.begins(0)
    assert bucket.waits_for(LISTEN) <= 0.11


@pytest.mark.parametrize("damage", [b"", b"\x00", b"\x95"])
def test_what_is_illegible_counts_for_nothing(damage: bytes) -> None:
    bucket = Bucket()
    bucket.waits(0)
    key = f"rate/model/{OTHER.node}"
    bucket.put(key, damage, 0)
    assert not bucket.machine.learn(at(0), key)


def test_nobody_speaks_for_another() -> None:
    bucket = Bucket()
    bucket.waits(0, configured=0)
    forged = codec.pack_value(Pace(NodeId("somebody"), 1, 0, 1, wall_ms(0), 1_000, 0))
    for key in ("rate/model/somebody", f"rate/model/{OTHER.node}", f"rate/model/{SELF.node}"):
        bucket.put(key, forged, 0)
        assert not bucket.machine.learn(at(0), key)
    assert bucket.admits(0)


def test_what_is_told_changes_seldom() -> None:
    bucket = Bucket()
    bucket.waits(0)
    told = 0
    for now in range(0, 10 * SECOND, SECOND // 20):
        if bucket.admits(now):
            bucket.begins(now)
        told += len(bucket.tell(now))
    assert told <= 21


# -- calls that wait for the disk ------------------------------------------------------------------


class Line(Desk):
    """A node with six agents of a job with a budget, at a model that takes a call a second."""

    def __init__(self) -> None:
        super().__init__(replace(CONFIG, slots=6))
        tasks = [task(f"t{number}") for number in range(6)]
        poor = replace(job(*tasks), budget=Budget(tokens=10_000))
        (command,) = commands(self.submit(poor))
        self.commit(command)
        self.now = 10 * SECOND

    def ask_all(self) -> Turn:
        """Every agent asks for a call; the log grants what they may use."""
        turn = self.turn()
        for invocation in self.team.running:
            asked = CallAsked(invocation, 1, 10, 10, 10, rate=1_000)
            self.team.call_asked(turn, asked)
        self.settle(turn)
        turn = self.wait(LISTEN)
        for command in commands(turn):
            turn = self.commit(command)
        return turn

    def granted(self, duration: Nanoseconds) -> list[int]:
        """Whose calls begin in that time."""
        begun: list[int] = []
        for _ in range(duration // (SECOND // 20)):
            turn = self.wait(SECOND // 20)
            begun += [each.invocation for each in turn.after if isinstance(each, CallGranted)]
        return begun


def test_calls_that_wait_for_the_disk_do_not_begin_all_at_once() -> None:
    """Found in a review: at a limit of one call a second, six were let through in one decision."""
    line = Line()
    turn = line.ask_all()
    assert sum(isinstance(each, CallGranted) for each in turn.after) <= 1
    assert len(line.granted(2 * SECOND)) <= 2


def test_a_call_that_was_let_through_and_does_not_begin_leaves_its_turn_to_another() -> None:
    line = Line()
    line.is_overloaded = True  # what is reserved is not written yet
    line.ask_all()
    line.wait(SECOND)
    calls = line.team._calls._calls
    (reserved,) = [number for number, call in calls.items() if call.reservation is not None]
    line.is_overloaded = False
    line.team._calls.drop(reserved[0])
    assert line.team.pacing.admits(line.now, line.view, "model")
