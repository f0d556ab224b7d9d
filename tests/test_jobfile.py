"""Job files: what is read, and the one line that every mistake gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from node import jobfile
from protocol.errors import InvalidJob
from protocol.jobs import ClaimMode, Quorum

WHOLE = """
job: sums
description: Adding things up.
budget: {tokens: 400_000, wall: 10m}
claims: raft
defaults: {agent: command, run: "echo {id}", verify: "sh tests/check_{id}.sh", quorum: 1}
tasks:
  - {id: add, writes: [add.txt], prompt: "Add."}
  - {id: twice, needs: [add], writes: [out/twice.txt], quorum: {of: 3, agree: 2}, timeout: 90s}
"""


def parse(text: str, folder: Path = Path("/nonexistent")) -> object:
    return jobfile.parse(text, "job.yaml", folder, "simulated")


def test_a_job_file_says_what_its_tasks_are(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "check_add.sh").write_text("true\n")
    job = jobfile.parse(WHOLE, "job.yaml", tmp_path, "simulated")
    assert job.claims is ClaimMode.RAFT
    assert (job.budget.tokens, job.budget.wall_s) == (400_000, 600.0)
    add, twice = job.tasks
    assert (add.agent, add.program, add.verify) == ("command", "echo add", "sh tests/check_add.sh")
    assert add.quorum == Quorum(1, 1)
    assert (twice.quorum, twice.timeout_s, twice.needs) == (Quorum(3, 2), 90.0, ("add",))
    assert [file.path for file in job.files] == ["tests/check_add.sh"]  # named by a verify line


def test_a_number_as_quorum_means_a_majority_of_so_many() -> None:
    job = jobfile.parse("job: a\ntasks: [{id: t, quorum: 5}]", "job.yaml", Path("."), "simulated")
    assert job.tasks[0].quorum == Quorum(5, 3)


def test_tasks_that_name_no_agent_get_the_one_of_the_environment() -> None:
    text = "job: a\ntasks: [{id: t}, {id: u, agent: command, run: 'true'}]"
    job = jobfile.parse(text, "job.yaml", Path("."), "openai")
    assert [task.agent for task in job.tasks] == ["openai", "command"]


def test_listed_files_travel_with_the_job(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.txt").write_bytes(b"A")
    (tmp_path / "data" / "b.txt").write_bytes(b"B")
    text = "job: a\nfiles: ['data/*.txt']\ntasks: [{id: t}]"
    job = jobfile.parse(text, "job.yaml", tmp_path, "simulated")
    assert [(file.path, file.content) for file in job.files] == [
        ("data/a.txt", b"A"),
        ("data/b.txt", b"B"),
    ]


def test_a_link_out_of_the_folder_does_not_travel(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    (inside / "link.txt").symlink_to(tmp_path / "secret.txt")
    text = "job: a\nfiles: ['*.txt']\ntasks: [{id: t}]"
    assert jobfile.parse(text, "job.yaml", inside, "simulated").files == ()


def test_the_papers_form_is_read_unchanged() -> None:
    text = """{"project": "P", "description": "D", "repository": "repo", "success_criteria": "S",
      "tasks": [{"id": "task-1", "title": "T", "description": "Do it.", "status": "pending",
                 "owner": null, "assigned_by": null, "priority": 1, "dependencies": [],
                 "files": ["unheard_of.py"]},
                {"id": "task-2", "description": "Then this.", "dependencies": ["task-1"],
                 "files": ["other.py"]}]}"""
    job = jobfile.parse(text, "some_list.json", Path("."), "simulated")
    assert (job.name, job.description) == ("some_list", "D")
    assert job.tasks[1].needs == ("task-1",)
    assert job.tasks[0].writes == ("unheard_of.py",)
    assert job.tasks[0].prompt == "Do it."


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("job: a\ntasks:\n  - {id: t\n", "job.yaml, line"),
        ("job: a\n\ttasks: []", "job.yaml, line 2: not YAML"),
        ("- a", "expected a mapping with 'job:' and 'tasks:'"),
        ("job: a\ntasks: []", "has no tasks"),
        ("tasks: [{id: t}]", "job is missing: add it"),
        ("job: a\ntasks: [{id: t, promt: x}]", "unknown key 'promt' at task 't'"),
        ("job: a\ntypo: 1\ntasks: [{id: t}]", "unknown key 'typo'"),
        ("job: a\ntasks: [{prompt: x}]", "task number 1, id is missing"),
        ("job: a\ntasks: [{id: t}, {id: t}]", "task id 't' is used twice"),
        ("job: a\ntasks: [{id: t, needs: [u]}]", "task 't' needs 'u', which is not a task here"),
        (
            "job: a\ntasks: [{id: t, needs: [u]}, {id: u, needs: [v]}, {id: v, needs: [t]}]",
            "in a cycle: t -> u -> v -> t",
        ),
        ("job: a\ntasks: [{id: t, writes: [../x]}]", "'../x' leaves the output folder"),
        ("job: a\ntasks: [{id: t, writes: [/etc/x]}]", "'/etc/x' leaves the output folder"),
        ("job: a\ntasks: [{id: t, timeout: soon}]", "'soon' is no duration"),
        ("job: a\ntasks: [{id: t, agent: oracle}]", "there is no agent 'oracle'"),
        ("job: a\ntasks: [{id: t, agent: command}]", "needs a program"),
        ("job: a\ntasks: [{id: t, quorum: {of: 2, agree: 3}}]", "1 <= agree <= of"),
        ("job: a\nclaims: fast\ntasks: [{id: t}]", "claims:"),
        ("job: a\nfiles: ['none/*']\ntasks: [{id: t}]", "nothing beside the job file matches"),
        ("job: a\nspeculate: {clones: 1}\ntasks: [{id: t}]", "speculate.clones is not available"),
        (
            "job: a\nbudget: {usd: 2}\ntasks: [{id: t, agent: openai}]",
            "budget.usd cannot be kept yet",
        ),
    ],
)
def test_each_mistake_is_one_line_that_names_it(text: str, line: str) -> None:
    with pytest.raises(InvalidJob) as caught:
        parse(text)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "job.yaml" in str(caught.value) or "files:" in str(caught.value)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(InvalidJob, match=r"no job file 'nowhere\.yaml'"):
        jobfile.read("nowhere.yaml", "simulated")


def test_an_unknown_list_is_answered_with_the_known_ones() -> None:
    with pytest.raises(InvalidJob, match=r"lists are .*mathutils_p05"):
        jobfile.read("mathutils_p06", "simulated")


def test_every_submission_has_an_id_of_its_own() -> None:
    job = jobfile.parse("job: a\ntasks: [{id: t}]", "job.yaml", Path("."), "simulated")
    ids = {jobfile.with_fresh_id(job).id for _ in range(20)}
    assert len(ids) == 20
    assert all(job_id.startswith("a-") for job_id in ids)
