"""Tasks for people: who waits for an answer goes on working, and nobody is asked twice."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from ledger_hand import job, task
from small_world import SmallWorld, done

from protocol.claims import ClaimBook
from protocol.clocks import SECOND, Nanoseconds
from protocol.effects import Assignment
from protocol.errors import InvalidJob
from protocol.events import AgentFailed, Completed
from protocol.facts.work import TaskAccepted, TaskStarted
from protocol.job_rules import validate
from protocol.jobs import ClaimMode, Speculation, Task
from protocol.team.scene import PEOPLE_MAX

LONG: Nanoseconds = 40 * SECOND


def question(name: str, *needs: str) -> Task:
    return replace(task(name, *needs), agent="human")


def slowly(assignment: Assignment) -> tuple[Nanoseconds, Completed | AgentFailed]:
    """A person takes long, a machine a second."""
    return done(assignment, LONG if assignment.task.asks_person else SECOND)


def starts(world: SmallWorld) -> Counter[str]:
    return Counter(fact.task for _, _, fact in world.diary.of(TaskStarted))


@pytest.mark.parametrize("claims", ClaimMode)
def test_a_team_that_waits_for_people_does_everything_else_meanwhile(claims: ClaimMode) -> None:
    """Each node has more questions open than it runs agents, and no less work for that."""
    world = SmallWorld(2, slowly)
    questions = [question(f"q{number}") for number in range(4)]
    work = [task(f"t{number}") for number in range(8)]
    world.do(job(*questions, *work, claims=claims), within=3 * LONG)
    begun = min(at for at, _, _ in world.diary.of(TaskStarted))
    ends = {fact.task: at - begun for at, _, fact in world.diary.of(TaskAccepted)}
    assert max(ends[each.id] for each in work) < 9 * SECOND
    assert max(ends[each.id] for each in questions) < LONG + 20 * SECOND
    assert set(starts(world).values()) == {1}
    by_node = Counter(number for _, number, f in world.diary.of(TaskStarted) if f.task[0] == "t")
    assert sorted(by_node.values()) == [4, 4]


@pytest.mark.parametrize("claims", ClaimMode)
def test_a_node_asks_no_more_than_so_many_questions_at_a_time(claims: ClaimMode) -> None:
    world = SmallWorld(1, slowly)
    questions = [question(f"q{number:02}") for number in range(PEOPLE_MAX + 4)]
    world.submit(job(*questions, task("t", "q00"), claims=claims))
    assert not world.run(LONG // 2, lambda: len(starts(world)) > PEOPLE_MAX)
    assert len(starts(world)) == PEOPLE_MAX
    assert world.run(3 * LONG, world.is_finished), "the others are asked in their turn"
    assert set(starts(world).values()) == {1}


@pytest.mark.parametrize("claims", ClaimMode)
def test_a_question_is_asked_while_all_nodes_are_at_work(claims: ClaimMode) -> None:
    """It takes longest, and takes nothing from the work."""
    world = SmallWorld(2, lambda given: done(given, LONG))
    work = [task(f"t{number}") for number in range(2)]
    world.submit(job(*work, claims=claims))
    assert world.run(10 * SECOND, lambda: len(starts(world)) == 2)
    world.submit(replace(job(question("q"), task("t"), claims=claims), id="other"))
    assert world.run(10 * SECOND, lambda: bool(starts(world)["q"]))
    assert starts(world)["t"] == 0


@pytest.mark.parametrize("claims", ClaimMode)
def test_no_question_to_a_person_is_raced(claims: ClaimMode) -> None:
    world = SmallWorld(3, slowly)
    raced = replace(job(question("q"), task("t"), claims=claims), speculation=Speculation(1, 0))
    world.do(raced, within=3 * LONG)
    assert starts(world)["q"] == 1


@pytest.mark.parametrize("claims", ClaimMode)
def test_another_node_asks_when_the_one_that_asked_has_died(claims: ClaimMode) -> None:
    world = SmallWorld(3, slowly)
    world.submit(job(question("q"), claims=claims))
    assert world.run(10 * SECOND, lambda: bool(world.diary.of(TaskStarted)))
    world.run(5 * SECOND)
    ((_, asked, _),) = world.diary.of(TaskStarted)
    world.hosts[asked].crash()
    assert world.run(60 * SECOND, lambda: len(world.diary.of(TaskStarted)) == 2)
    assert world.diary.of(TaskStarted)[1][1] != asked
    assert world.run(2 * LONG, world.is_finished)


def test_how_long_people_take_says_nothing_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[str] = []
    answered = ClaimBook.answered

    def counting(self: ClaimBook, unit: tuple[str, str, int], *rest: object) -> None:
        counted.append(unit[1])
        answered(self, unit, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(ClaimBook, "answered", counting)
    SmallWorld(1, slowly).do(job(question("q"), task("t")), within=3 * LONG)
    assert counted == ["t"]


def test_a_task_for_a_person_says_what_is_asked() -> None:
    validate(job(question("q")))
    with pytest.raises(InvalidJob, match="needs a prompt"):
        validate(job(replace(question("q"), prompt=" ")))
