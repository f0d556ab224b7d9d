"""The study of the nine lists: what counts as done is what the suites' own tests pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import quorate_here

from node import lists
from node.agents.verify import Finding, Verifier
from node.lab import team_study
from node.lab.suite_checks import SuiteChecks, answers, wrong_answers
from node.lab.team_study import MODELS, SIZES, Cell, Figures, lines_of
from protocol.effects import Assignment
from protocol.jobs import ClaimMode, File, Task

NAME = "mathutils_p09"
ALONE = Cell(1, ClaimMode.LEASE)


@pytest.fixture(scope="module")
def checks() -> SuiteChecks:
    """Shared, as a worker of the study shares them: each content is tested once."""
    return SuiteChecks()


def task(name: str) -> Task:
    return lists.load(NAME).task(name)


# -- the suites' own tests -------------------------------------------------------------------------


def test_a_worked_answer_passes_and_a_known_mistake_does_not(checks: SuiteChecks) -> None:
    assert checks.fault(NAME, task("add"), (), answers(task("add"))) == ""
    assert "add" in checks.fault(NAME, task("add"), (), wrong_answers(task("add"), 0))


def test_the_same_content_is_tested_once(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[str] = []

    async def check(
        self: Verifier, assignment: Assignment, files: tuple[File, ...], text: str = ""
    ) -> Finding:
        commands.append(assignment.task.verify)
        return Finding("no")

    monkeypatch.setattr(Verifier, "check", check)
    checks, add = SuiteChecks(), task("add")
    for files in (answers(add), answers(add), wrong_answers(add, 0), answers(add)):
        assert checks.fault(NAME, add, (), files) == "no"
    assert len(commands) == len(checks) == 2
    checks.fault(NAME, add, (File("other.py", b""),), answers(add))
    checks.fault("mathutils_p05", add, (), answers(add))
    assert len(commands) == 4, "what else lies there may matter, as does the list"


def test_one_wrong_file_or_one_that_is_missing_makes_a_whole_output_red(
    checks: SuiteChecks,
) -> None:
    tasks = lists.load(NAME).tasks
    right = [file for each in tasks for file in answers(each)]
    assert checks.fault_of_whole(NAME, right) == ""
    wrong = [file for each in tasks[:-1] for file in answers(each)]
    assert checks.fault_of_whole(NAME, wrong) == f"there is no {tasks[-1].writes[0]}"
    assert checks.fault_of_whole(NAME, [*wrong, *wrong_answers(tasks[-1], 0)])


# -- runs ------------------------------------------------------------------------------------------


def test_wrong_answers_are_found_by_the_tests_and_done_again(checks: SuiteChecks) -> None:
    (run,) = measured(Cell(3, ClaimMode.LEADER, wrong=0.2), checks)
    assert run.failed
    assert run.is_green


def test_what_passes_wrongly_is_not_green(
    checks: SuiteChecks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checks of single tasks let everything pass: only the whole output tells."""
    fault = SuiteChecks.fault

    def blind(
        self: SuiteChecks, name: str, task: Task, inputs: Sequence[File], files: Sequence[File]
    ) -> str:
        return fault(self, name, task, inputs, files) if task.id == "whole" else ""

    monkeypatch.setattr(SuiteChecks, "fault", blind)
    (run,) = measured(Cell(2, ClaimMode.LEASE, wrong=0.2), checks)
    assert not run.failed
    assert not run.is_green


def measured(cell: Cell, checks: SuiteChecks) -> list[Figures]:
    return team_study.measure(
        cell, seeds=1, shapes=("p09",), models=MODELS[:1], suites=("mathutils",), checks=checks
    )


# -- the table -------------------------------------------------------------------------------------


def figures(**changes: object) -> list[Figures]:
    one = Figures("p09", "mathutils", "gpt", 10.0, 1_000, 0, 0, 400, is_green=True)
    return [
        replace(one, shape=shape, **changes)  # type: ignore[arg-type]
        for shape in lists.SHAPES
    ]


def test_success_with_green_suites_is_a_line_that_can_fail() -> None:
    found = {ALONE: figures(), Cell(4, ClaimMode.RAFT): figures(makespan_s=4.0)}
    last = lines_of(found)[-1]
    assert (last.ours, last.holds) == ("6 of 6", True)
    found[Cell(4, ClaimMode.RAFT)][1] = replace(found[ALONE][1], is_green=False)
    *_, red, last = lines_of(found)
    assert (red.ours, red.holds) == ("2 of 3", False)
    assert (last.ours, last.published, last.holds) == ("5 of 6", "47 %", False)


def test_the_full_study_has_every_size_in_every_claim_mode(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Cell] = []
    monkeypatch.setattr(team_study, "_study", lambda name, title, cells, seed: asked.extend(cells))
    team_study.full_study()
    plain = {(cell.claims, cell.nodes) for cell in asked if not cell.clones and not cell.wrong}
    assert plain == {(claims, nodes) for claims in ClaimMode for nodes in SIZES}
    assert len(asked) == len(set(asked))


def test_only_one_study_has_more_than_it_usually_measures(tmp_path: Path) -> None:
    done = quorate_here("study", "swim", "--full", folder=tmp_path)
    assert done.returncode == 2
    assert "--full is of the study 'team'" in done.stderr
