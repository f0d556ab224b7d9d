"""What nodes choose: those that see the same take different units, whatever room they have."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ledger_hand import ADA, job, task
from small_world import SmallWorld, done
from team_hand import CONFIG, SELF, Desk, commands
from test_racing import AT_ONCE

from protocol import claims, codec
from protocol import config as presets
from protocol.claims import Claim, Phase
from protocol.clocks import MILLISECOND, SECOND, Nanoseconds
from protocol.effects import Assignment
from protocol.events import AgentFailed, Completed
from protocol.facts.work import TaskStarted
from protocol.identity import Identity
from protocol.messages.agreement import EntryKind, LogEntry
from protocol.sim.scenario import Verdict, simulate
from protocol.store import Version
from protocol.team import View
from protocol.team.scene import Hands

OTHER = Identity(b"o" * 32).node


@pytest.mark.parametrize(
    ("nodes", "slots", "tasks"),
    [(3, 1, 3), (3, 2, 4), (8, 2, 8), (8, 2, 16), (8, 4, 16), (8, 4, 24), (8, 4, 32)],
)
def test_who_has_room_for_several_takes_nothing_that_another_takes(
    nodes: int, slots: int, tasks: int
) -> None:
    """And yet all room is filled in a moment for each slot, or two."""
    team = replace(presets.local().team, slots=slots)
    seeds, extra = range(1, 4), 0
    for seed in seeds:
        world = SmallWorld(
            nodes,
            lambda given: done(given, 5 * SECOND),
            replace(presets.local(), team=team),
            seed,
        )
        world.do(job(*(task(f"t{number}") for number in range(tasks))))
        started = world.diary.of(TaskStarted)
        extra += len(started) - tasks
        begun = [at for at, _, _ in started]
        assert max(begun) - min(begun) <= 2 * slots * CONFIG.patience_ns
    assert extra <= len(seeds) * tasks // 16


@pytest.mark.parametrize("name", ["t0", "t1", "t2", "t3", "t4", "t5"])
def test_a_race_is_not_dropped_for_what_an_idle_node_takes(name: str) -> None:
    """One node is at a long task, one races it, and the third has just done what `name` needs."""

    def script(given: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
        times = {"long": 60 * SECOND, "first": 2 * SECOND}
        return done(given, times.get(given.task.id, SECOND))

    world = SmallWorld(3, script)
    tasks = (task("long", weight=60.0), task("first"), task(name, "first"))
    world.submit(replace(job(*tasks), speculation=AT_ONCE))
    world.run(10 * SECOND)
    started = [(fact.task, fact.races) for _, _, fact in world.diary.of(TaskStarted)]
    assert sorted(started) == [("first", False), ("long", False), ("long", True), (name, False)]


@pytest.mark.parametrize("name", ["t0", "t1", "t2", "t3", "t4", "t5"])
def test_who_has_no_share_races_and_who_has_one_does_not(name: str) -> None:
    """Two are idle, and there is one task besides what the third works on."""
    desk = Desk()
    desk.view = View(frozenset({SELF.node}), frozenset(), SELF.node)
    (submit,) = commands(
        desk.submit(replace(job(task("long", weight=9.0), task(name)), speculation=AT_ONCE))
    )
    desk.ledger.apply(entry(submit))
    claim = codec.pack_value(Claim(OTHER, 1, Phase.WORKING))
    desk.team.book.learn(("job", "long", 0), [Version(OTHER, 1, claim, 0)], 0)
    nodes = frozenset({SELF.node, OTHER, ADA})
    unit = ("job", name, 0)
    taker = claims.share_out([unit], [SELF.node, ADA], nodes)[unit]
    view, found = View(nodes, frozenset(), OTHER), desk.ledger.jobs["job"]
    choice = desk.team._choice
    raced = [
        choice.choose_race(now, view, found, frozenset(), Hands.FREE)
        for now in (0, CONFIG.patience_ns - MILLISECOND)
    ]
    at_once, chosen = (
        choice.choose(now, view, found, frozenset(), Hands.FREE) for now in (0, CONFIG.yield_ns)
    )
    suits_best = claims.suited_best(unit, nodes) == SELF.node
    assert (at_once is not None) == suits_best
    if taker == SELF.node:
        assert chosen is not None
        assert raced == [None, None]
    else:
        assert chosen is None
        assert raced == [None, ("job", "long", 0)]


@pytest.mark.parametrize("name", ["q0", "q1", "q2", "q3", "q4", "q5"])
def test_nobody_leaves_a_race_for_a_question_to_a_person(name: str) -> None:
    """That is asked beside it."""
    desk = Desk()
    desk.view = View(frozenset({SELF.node}), frozenset(), SELF.node)
    question = replace(task(name), agent="human")
    (submit,) = commands(
        desk.submit(replace(job(task("long", weight=9.0), question), speculation=AT_ONCE))
    )
    desk.ledger.apply(entry(submit))
    claim = codec.pack_value(Claim(OTHER, 1, Phase.WORKING))
    desk.team.book.learn(("job", "long", 0), [Version(OTHER, 1, claim, 0)], 0)
    view = View(frozenset({SELF.node, OTHER, ADA}), frozenset(), OTHER)
    found = desk.ledger.jobs["job"]
    raced = [
        desk.team._choice.choose_race(now, view, found, frozenset(), Hands.FREE)
        for now in (0, 2 * CONFIG.patience_ns)
    ]
    assert raced[1] == ("job", "long", 0)


@pytest.mark.parametrize("seed", [3507, 4461])
def test_who_was_outrun_by_a_racer_answers_another_slot(seed: int) -> None:
    """In these seeds the last of three independent answers was left to nobody: the third node had
    once claimed a slot that a racer answered first."""
    outcome = simulate(seed)
    assert outcome.verdict is Verdict.HELD, outcome.summary()


def entry(data: bytes) -> LogEntry:
    return LogEntry(1, 1, EntryKind.COMMAND, data)
