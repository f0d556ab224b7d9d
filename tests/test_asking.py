"""Questions to a team of real processes, as a user asks them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import quorate, quorate_here

from node.cli.question import Manner, account_of, ask_running_team, lines_of, question_job
from node.lab.cluster import Cluster
from node.lab.door import Doors, route
from node.model.faults import draw_faults
from node.model.knobs import ModelKnobs
from node.model.latency import key_of

SEED, WRONG = 35, 0.3


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a team whose model is often wrong."""
    folder = tmp_path_factory.mktemp("team")
    model = ("--speed", "50", "--wrong", str(WRONG), "--seed", str(SEED))
    try:
        assert quorate("up", "-n", "3", *model, folder=folder).returncode == 0
        yield folder
    finally:
        quorate("down", folder=folder)


@pytest.fixture
def doors(team: Path) -> Doors:
    return Cluster.load(team / ".quorate").doors()


def is_wrong(question: str, calls: int) -> list[bool]:
    """Which of the first answers to a question will be wrong: so the seed draws them."""
    knobs = ModelKnobs(seed=SEED, wrong=WRONG)
    return [draw_faults(knobs, key_of((), question), call).wrong for call in range(calls)]


def asked(folder: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = quorate_here("ask", *arguments, "--json", folder=folder)
    assert not done.stderr
    return done.returncode, json.loads(done.stdout)


async def test_who_dissents_is_in_the_account_that_every_node_gives(
    doors: Doors, tmp_path: Path
) -> None:
    """The dissenter answers first; the others wait until that is in the log."""
    gate = tmp_path / "gate"
    program = (
        f"cat > /dev/null; [ $QUORATE_SLOT = 0 ] && echo Because. && echo Answer: two && exit; "
        f"until [ -e '{gate}' ]; do sleep 0.05; done; echo Answer: **Three.**"
    )
    job = question_job("How many?", Manner(program=program))
    async with asyncio.timeout(60):
        await doors.submit(job)
        try:
            await until_answered(doors, job.id)
        finally:
            gate.touch()
        view = await ask_running_team(doors, job)  # the same job, submitted again
        accounts = [account_of("How many?", view)]
        for address in doors.addresses:
            there = await Doors([address], doors.token).await_end(job.id)
            accounts.append(account_of("How many?", there))
    for account in accounts:
        assert account["answer"] == "**Three.**"
        (dissent,) = account["dissent"]
        assert (dissent["slot"], dissent["conclusion"]) == (0, "two")
        assert dissent["text"] == "Because.\nAnswer: two", "with its reasons"
        assert {each["slot"] for each in account["agreed"]} == {1, 2}
        names = [each["name"] for each in (dissent, *account["agreed"])]
        assert sorted(names) == ["n1", "n2", "n3"], "independent answers are of different nodes"
        assert f"-- dissent, {dissent['name']} (token 1): two" in list(lines_of(account))
    assert len({str(account["committed"]) for account in accounts}) == 1
    assert accounts[0]["committed"]["leader"] in ("n1", "n2", "n3")


async def until_answered(doors: Doors, job: str) -> None:
    while True:
        view = await doors.get(route("jobs", job))
        if view["tasks"][-1]["answers"]:
            return
        await asyncio.sleep(0.05)


def test_two_that_differ_are_no_agreement_and_both_are_told(team: Path) -> None:
    question = "How many voters of three must agree?"
    assert is_wrong(question, 2) == [True, False]
    code, account = asked(team, question, "-k", "2")
    assert code == 1
    assert account["answer"] is None
    assert account["why_none"] == "2 answers, but at most 1 of them agree"
    assert len(account["dissent"]) == 2
    assert "2" in [each["conclusion"] for each in account["dissent"]]
    assert account["committed"]["index"] > 0


def test_a_judge_hears_all_and_its_word_is_kept(team: Path) -> None:
    question = "How many of three voters must agree?"
    assert is_wrong(question, 3) == [False, True, False]
    code, account = asked(team, question, "--judge")
    assert code == 0
    assert account["answer"] == "2"
    assert account["judge"] in ("n1", "n2", "n3")
    assert len(account["agreed"]) == 2
    assert len(account["dissent"]) == 1
    assert account["usage"]["simulated"]


def test_a_program_judges_what_programs_answer(team: Path) -> None:
    says = 'case $QUORATE_SLOT in 0) echo "a pair";; 1) echo two;; *) echo all;; esac'
    judges = (
        "n=0; for file in $QUORATE_ANSWERS; do n=$((n+1)); "
        'grep -q all "$file" && echo "$n: B" || echo "$n: A"; done'
    )
    code, account = asked(team, "How many?", "--run", says, "--judge-run", judges)
    assert code == 0
    assert account["answer"] in ("a pair", "two")
    assert account["judge"] in ("n1", "n2", "n3")
    assert [each["conclusion"] for each in account["dissent"]] == ["all"]


def test_a_critique_shows_who_drafted_what(team: Path) -> None:
    question = "How many of five voters must agree?"
    assert not any(is_wrong(question, 6))
    done = quorate_here("ask", question, "--critique", folder=team)
    assert done.returncode == 0
    assert done.stdout == "3\n"
    shown = done.stderr.splitlines()
    assert shown[0].startswith("-- proposed by n")
    assert sum(line.startswith("-- draft ") for line in shown) == 3
    assert "committed as log entry" in shown[-1]


def test_what_was_said_of_drafts_is_kept(team: Path) -> None:
    question = "How many of seven voters must agree?"
    assert not any(is_wrong(question, 4))
    code, account = asked(team, question, "-k", "2", "--critique")
    assert code == 0
    assert [each["text"] for each in account["drafts"]] == ["4", "4"]
    assert "Draft 2: nothing is wrong with it." in account["proposer"]["text"]


def test_without_a_team_one_is_started_for_the_question(tmp_path: Path) -> None:
    question = "How many voters of three must agree?"
    done = quorate("ask", question, "-k", "1", "-n", "1", "--speed", "50", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "2\n")
    assert done.stderr.startswith("-- by n1 (token 1)\n")
    assert list(tmp_path.iterdir()) == [], "nothing is left of it"
