"""`quorate why` as a user meets it: a team that runs, and one that has gone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import quorate, quorate_here

from node.lab.story.telling import FROM_DISK

JOB = """
job: three
defaults: {agent: command, attempts: 2}
files: [check.sh]
tasks:
  - {id: good, run: "echo fine", writes: [good.txt]}
  - {id: bad, run: "echo poor", writes: [bad.txt], verify: "sh check.sh"}
  - {id: after, needs: [bad], run: "echo never"}
"""


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A team's folder; its two nodes run, and have done a job."""
    folder = tmp_path_factory.mktemp("team")
    (folder / "three.yaml").write_text(JOB)
    (folder / "check.sh").write_text("cat bad.txt; echo no such luck; exit 1\n")
    try:
        assert quorate("up", "-n", "2", folder=folder).returncode == 0
        assert quorate("submit", "three.yaml", "--wait", folder=folder).returncode == 1
        yield folder
    finally:
        quorate("down", folder=folder)


def why(folder: Path, *arguments: str) -> list[str]:
    """The lines of a story that can be told."""
    done = quorate_here("why", *arguments, folder=folder)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_why_a_task_failed_why_one_was_done_and_why_one_waits(team: Path) -> None:
    bad = why(team, "bad")
    assert "attempt 1 (token 1)" in bad
    assert "attempt 2 (token 2)" in bad
    assert bad.count(f"{'':<28}| no such luck") == 3, "twice it was checked, then abandoned"
    assert bad[-1].startswith("abandoned at log index ")
    assert "2 attempts failed, the last with verify: poor; no such luck" in bad[-1]
    good = why(team, "good", "--node", "n2")
    assert good[-1].startswith("accepted from n")
    assert "by leader n" in good[-1]
    assert "not asked: n1: what nobody else saw is not here" in good
    story = json.loads("\n".join(why(team, "after", "--json")))
    assert story["state"] == "out of reach"
    assert story["summary"].startswith("cannot be done: bad was abandoned: 2 attempts failed")


def test_who_asks_for_what_is_not_there_is_told_what_is(team: Path) -> None:
    for arguments, words in (
        (["goood"], "no job has a task 'goood'; there is good"),
        (["good", "--job", "there"], "this node knows no job 'there'; there is three-"),
    ):
        done = quorate_here("why", *arguments, folder=team)
        assert done.returncode == 2
        assert words in done.stderr


def test_the_files_tell_the_story_when_the_team_has_gone(team: Path) -> None:
    before = why(team, "bad")
    assert quorate("down", folder=team).returncode == 0
    only_known_to_who_runs = ("  writes ", "  check: ")
    assert why(team, "bad") == [
        line
        for line in before
        if not line.startswith(only_known_to_who_runs) and " + has shared bad.txt" not in line
    ]
    story = json.loads("\n".join(why(team, "after", "--json")))
    assert story["state"] == "out of reach", "nobody has begun it, and no record tells of it"
    assert story["summary"].startswith("cannot be done: bad was abandoned: 2 attempts failed")
    assert story["remarks"] == [FROM_DISK]
    job = story["job"]
    assert why(team, "after", "--job", job) == why(team, "after")
    assert "  needs bad: not accepted yet" in why(team, "after")
    done = quorate_here("why", "after", "--job", "another", folder=team)
    assert done.returncode == 2
    assert "nobody has written of a task 'after' of job 'another'" in done.stderr
    done = quorate_here("why", "goood", folder=team)
    assert done.returncode == 2
    assert "no node of this team answers" in done.stderr
    assert "there is good" in done.stderr
    assert "by leader n" in why(team, "good", "--dir", ".quorate")[-1]
