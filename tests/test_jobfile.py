"""Job files: what is read, and the one line that every mistake gets."""

from __future__ import annotations

import copy
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from properties import bounded

from node import jobfile
from node.jobfile import document
from protocol.errors import InvalidJob
from protocol.job_rules import validate
from protocol.jobs import FIXTURES_MAX, ID_LENGTH_MAX, ClaimMode, Quorum

WHOLE = """
job: sums
description: Adding things up.
budget: {tokens: 400_000, wall: 10m}
claims: raft
defaults:
  agent: command
  run: "echo {id}"
  verify: "sh tests/check_{id}.sh"
  verify_timeout: 5m
  quorum: 1
tasks:
  - {id: add, writes: [add.txt], prompt: "Add."}
  - {id: twice, needs: [add], writes: [out/twice.txt], quorum: {of: 3, agree: 2}, timeout: 90s}
  - id: part
    each: [red, blue]
    needs: [twice]
    writes: ["{each}.txt"]
    verify: ""
    verify_timeout: 2
"""


def parse(text: str, folder: Path = Path("/nonexistent")) -> object:
    return jobfile.parse(text, "job.yaml", folder, "simulated")


def test_a_job_file_names_programs_that_merge_and_judge(tmp_path: Path) -> None:
    """And their files travel."""
    (tmp_path / "judge.sh").write_text("true\n")
    text = "job: a\nmerge: {run: sort -u}\njudge: {run: sh judge.sh}\ntasks: [{id: t}]"
    job = jobfile.parse(text, "job.yaml", tmp_path, "simulated")
    assert (job.merge_program, job.judge_program) == ("sort -u", "sh judge.sh")
    assert [file.path for file in job.files] == ["judge.sh"]
    bare = jobfile.parse("job: a\ntasks: [{id: t}]", "job.yaml", tmp_path, "simulated")
    assert (bare.merge_program, bare.judge_program) == ("", "")


def test_a_job_file_says_what_its_tasks_are(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "check_add.sh").write_text("true\n")
    job = jobfile.parse(WHOLE, "job.yaml", tmp_path, "simulated")
    assert job.claims is ClaimMode.RAFT
    assert (job.budget.tokens, job.budget.wall_s) == (400_000, 600.0)
    add, twice, red, blue = job.tasks
    assert (add.agent, add.program, add.verify) == ("command", "echo add", "sh tests/check_add.sh")
    assert add.quorum == Quorum(1, 1)
    assert (twice.quorum, twice.timeout_s, twice.needs) == (Quorum(3, 2), 90.0, ("add",))
    assert [task.verify_timeout_s for task in job.tasks] == [300.0, 300.0, 2.0, 2.0]
    assert [file.path for file in job.files] == ["tests/check_add.sh"]  # named by a verify line
    assert [task.id for task in (red, blue)] == ["part-red", "part-blue"]
    assert (blue.program, blue.writes, blue.needs) == ("echo part-blue", ("blue.txt",), ("twice",))


def test_a_number_as_quorum_means_a_majority_of_so_many() -> None:
    job = jobfile.parse("job: a\ntasks: [{id: t, quorum: 5}]", "job.yaml", Path("."), "simulated")
    assert job.tasks[0].quorum == Quorum(5, 3)


def test_a_task_may_say_how_long_it_takes_beside_the_others() -> None:
    yaml = "job: a\ntasks: [{id: t}, {id: u, weight: 3}, {id: v, weight: 0.5}]"
    tasks = [{"id": "t"}, {"id": "u", "weight": 3}, {"id": "v", "weight": 0.5}]
    for text, name in (
        (yaml, "job.yaml"),
        (json.dumps({"job": "a", "tasks": tasks}), "job.json"),
    ):
        job = jobfile.parse(text, name, Path("."), "simulated")
        assert job.weights == {"t": 1.0, "u": 3.0, "v": 0.5}


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


def files_of(folder: Path, listed: str = "[]", line: str = "") -> list[str]:
    """The files that travel with a job in `folder`."""
    text = f"job: a\nfiles: {listed}\ntasks: [{{id: t, writes: [made.txt], verify: {line!r}}}]"
    return [file.path for file in jobfile.parse(text, "job.yaml", folder, "simulated").files]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A job file's folder with tests, hidden things, and something to hide beside it."""
    (tmp_path / "secret.txt").write_text("secret")
    inside = tmp_path / "inside"
    for name in ("a.txt", "made.txt", ".env", "tests/one.py", "tests/.key", "tests/deep/two.py"):
        (inside / name).parent.mkdir(parents=True, exist_ok=True)
        (inside / name).write_text(name)
    (inside / "tests" / "__pycache__").mkdir()
    (inside / "tests" / "__pycache__" / "one.pyc").touch()
    return inside


@pytest.mark.parametrize("listed", ["[tests]", "['tests/']", "['tests/**/*']", "['./tests']"])
def test_a_listed_folder_travels_without_what_it_hides(folder: Path, listed: str) -> None:
    assert files_of(folder, listed) == ["tests/deep/two.py", "tests/one.py"]


def test_hidden_files_travel_when_they_are_named(folder: Path) -> None:
    assert files_of(folder, "['*.txt', .env]") == [".env", "a.txt", "made.txt"]
    assert files_of(folder, "['.e*']") == [".env"]


def test_a_command_line_takes_along_what_it_names_but_not_the_whole_folder(folder: Path) -> None:
    assert files_of(folder, line="cat ./a.txt && pytest . tests/deep && cd ..") == [
        "a.txt",
        "tests/deep/two.py",
    ]


def test_what_a_task_makes_is_not_brought_along_for_its_check(folder: Path) -> None:
    """Else a result of yesterday, beside the job file, would pass the check of today's."""
    assert files_of(folder, line="test -s made.txt") == []


@pytest.mark.parametrize("line", ["x" * 5_000 + ".txt", "a." + "/b" * 300, "'a\0.txt'", "a\nb.txt"])
def test_a_word_that_can_be_no_file_is_none(folder: Path, line: str) -> None:
    job = f"job: a\ntasks: [{{id: t, verify: {json.dumps(line)}}}]"
    assert jobfile.parse(job, "job.yaml", folder, "simulated").files == ()


@pytest.mark.parametrize(
    ("listed", "fault"),
    [
        ("['']", "names no file"),
        ("['.']", "names no file"),
        ("['./']", "names no file"),
        ("['../secret.txt']", "outside of the job file's folder: copy it"),
        ("['tests/../../secret.txt']", "outside of the job file's folder: copy it"),
        ("['/etc/passwd']", "outside of the job file's folder: copy it"),
        ("['none*']", "nothing beside the job file matches"),
        ("['**x']", "cannot be looked up"),
        ("['" + "x" * 5_000 + "']", "over 200 characters: shorten it"),
        ("['[']", "nothing beside the job file matches"),
        ('["a\\0b"]', "nothing beside the job file matches"),
        ("[link.txt]", "'link.txt' is a link out of the job file's folder"),
        ("['*.txt', 'link*']", "'link.txt' is a link out of the job file's folder"),
        ("[linked]", "is a link out of the job file's folder"),
        ("[pipe]", "it is not a regular file"),
        ("[circle]", "circle"),
    ],
)
def test_a_listed_file_that_cannot_travel_is_named(folder: Path, listed: str, fault: str) -> None:
    (folder / "link.txt").symlink_to(folder.parent / "secret.txt")
    (folder / "linked").symlink_to(folder.parent)
    (folder / "circle").symlink_to("circle")
    os.mkfifo(folder / "pipe")
    with pytest.raises(InvalidJob) as caught:
        files_of(folder, listed)
    assert fault in str(caught.value)
    assert str(caught.value).startswith("job.yaml: ")
    assert "\n" not in str(caught.value)


def test_a_link_deep_in_a_listed_folder_is_named(folder: Path) -> None:
    (folder / "tests" / "deep" / "up").symlink_to(folder.parent)
    with pytest.raises(InvalidJob, match=r"'tests/deep/up' is a link out"):
        files_of(folder, "[tests]")


def test_a_link_inside_the_folder_travels_under_its_own_name(folder: Path) -> None:
    (folder / "tests" / "same.txt").symlink_to("../a.txt")
    assert files_of(folder, "['tests/*.txt']") == ["tests/same.txt"]


def test_a_folder_of_too_many_files_is_refused_before_they_are_read(folder: Path) -> None:
    (folder / "many").mkdir()
    for number in range(FIXTURES_MAX + 1):
        (folder / "many" / str(number)).touch()
    with pytest.raises(InvalidJob, match=f"over {FIXTURES_MAX} files"):
        files_of(folder, "[many]")


def test_files_too_large_to_travel_are_refused(folder: Path) -> None:
    with open(folder / "large", "wb") as file:
        file.truncate(2**40)  # sparse: reading all of it would take for ever
    with pytest.raises(InvalidJob, match="list fewer"):
        files_of(folder, "[large]")


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
        ("", "job.yaml is empty"),
        (" \n", "job.yaml is empty"),
        ("# only a comment", "expected a mapping"),
        ("3", "expected a mapping"),
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
        ("job: a\ntasks: [{id: t, verify: 5}]", "task 't', verify: must be text: put it in quotes"),
        ("job: a\ntasks: [{id: t, verify: [sh, x]}]", "task 't', verify: must be text"),
        ("job: a\ntasks: [{id: t, run: true}]", "task 't', run: must be text"),
        ("job: a\ntasks: [{id: t, each: 0}]", "task 't', each: a number of tasks is 1 to 10000"),
        ("job: a\ntasks: [{id: t, each: 10001}]", "each: a number of tasks is 1 to 10000"),
        ("job: a\ntasks: [{id: t, each: []}]", "each: it should be a number of tasks, or a list"),
        ("job: a\ntasks: [{id: t, each: x}]", "each: it should be a number of tasks, or a list"),
        ("job: a\ntasks: [{id: t, each: [1]}]", "task 't', each, 0: must be text: put it in"),
        ("job: a\ntasks: [{id: t, each: [a, a]}]", "task id 't-a' is used twice"),
        ("job: a\ntasks: [{id: t, each: [a b]}]", "task id 't-a b' must be 1 to 100 letters"),
        ("job: a\ntasks: [{id: t, each: 2}, {id: t}]", "task id 't' is used twice"),
        ("job: a\ntasks: [{id: t, each: 2}, {id: t-2}]", "task id 't-2' is used twice"),
        ("job: a\ntasks: [{id: t, each: 2, needs: [t]}]", "in a cycle: t-1 -> t-1"),
        ("job: a\ntasks: [{id: t, each: 2}, {id: u, needs: [t, t]}]", "needs 't-1' twice"),
        ("job: a\ntasks: [{id: t, each: 2}, {id: u, needs: [t-3]}]", "needs 't-3', which is not"),
        (
            "job: a\ntasks: [{id: t, each: 2}, {id: u, needs: ['t-{each}']}]",
            "task 'u' needs 't-{each}', which is not a task here",
        ),
        (
            "job: a\ntasks: [{id: t, each: 9000}, {id: u, each: 9000}]",
            "job has 18000 tasks, the limit is 10000",
        ),
        ("job: a\ntasks: [{id: t, needs: [t]}]", "need each other in a cycle: t -> t"),
        ("job: a\ntasks: [{id: t, timeout: soon}]", "'soon' is no duration"),
        ("job: a\ntasks: [{id: t, agent: oracle}]", "there is no agent 'oracle'"),
        ("job: a\ntasks: [{id: t, agent: command}]", "needs a program"),
        ("job: a\ntasks: [{id: t, quorum: {of: 2, agree: 3}}]", "1 <= agree <= of"),
        ("job: a\nclaims: fast\ntasks: [{id: t}]", "claims:"),
        ("job: a\ntasks:\n  - id: t\n    prompt: x\n    id: u", "line 5: key 'id' is given twice"),
        ("job: a\njob: b\ntasks: [{id: t}]", "line 2: key 'job' is given twice"),
        ("job: a\ntasks: &all [*all]", "line 2: an alias stands for what it is part of"),
        ("job: &a {x: *a}", "line 1: an alias stands for what it is part of"),
        ("job: *a", "line 1: not YAML: found undefined alias"),
        ("job: !!int abc", "line 1: tags such as !!int mean nothing here"),
        ("!!python/object/apply:os.getcwd []", "line 1: tags such as"),
        ("job: !!timestamp x", "line 1: tags such as"),
        ("[" * 100_000, "line 1: too deeply nested"),
        ("job: a\n? [x]\n: y", "line 2: not YAML: found unhashable key"),
        ("job: a\n---\njob: b", "line 2: not YAML: but found another document"),
        ("job: a\n\0", "line 2: not YAML: character 0 is not text: remove it"),
        ('job: "\\UFFFFFFFF"', "line 1: not YAML: the number there is too large"),
        ("%YAML " + "1" * 5_000 + ".1\n---\njob: a", "the number there is too large"),
        ("job: 12\ntasks: [{id: t}]", "job: must be text: put it in quotes"),
        ("job: " + "9" * 5_000 + "\ntasks: [{id: t}]", "job: must be text: put it in quotes"),
        ("job: true\ntasks: [{id: t}]", "job: must be text: put it in quotes"),
        ("job: a\n1: 2\ntasks: [{id: t}]", "unknown key 1 at the top"),
        ("job: a\n'b\\n': 2\ntasks: [{id: t}]", "unknown key"),
        ('job: a\n"b\\n": 2\ntasks: [{id: t}]', "unknown key 'b\\n' at the top"),
        ("job: a\ntasks: {id: t}", "tasks: it should be a valid list"),
        ("job: a\ntasks: [t]", "task number 1: it should be a mapping"),
        ("job: a\ntasks: [{id: [t]}]", "task number 1, id: must be text"),
        ("job: a\ntasks: [{id: t, attempts: true}]", "attempts: it should be a valid integer"),
        ("job: a\ntasks: [{id: t, attempts: '5'}]", "attempts: it should be a valid integer"),
        ("job: a\ntasks: [{id: t, timeout: 1e999}]", "timeout: it should be a finite number"),
        ("job: a\ntasks: [{id: t, timeout: .nan}]", "'.nan' is no duration"),
        ("job: a\ntasks: [{id: t, timeout: 0}]", "timeout must be above 0 s"),
        ("job: a\ntasks: [{id: t, verify_timeout: 0}]", "'t': verify_timeout must be above 0 s"),
        ("job: a\ntasks: [{id: t, verify_timeout: 25h}]", "at most a day"),
        ("job: a\ntasks: [{id: t, verify_timeout: soon}]", "'soon' is no duration"),
        ("job: a\ntasks: [{id: t, weight: 0}]", "task 't': weight must be above 0"),
        ("job: a\ntasks: [{id: t, weight: -2.5}]", "task 't': weight must be above 0"),
        ("job: a\ntasks: [{id: t, weight: 1e999}]", "weight: it should be a finite number"),
        (
            "job: a\ntasks: [{id: t, weight: .inf}]",
            "weight: it should be a valid number, not the text '.inf'",
        ),
        ("job: a\ntasks: [{id: t, weight: heavy}]", "weight: it should be a valid number"),
        ("job: a\ndefaults: {weight: 2}\ntasks: [{id: t}]", "unknown key 'weight' at defaults"),
        ("job: a\ntasks: [{id: t, quorum: {of: 3}}]", "quorum, agree is missing"),
        ("job: a\ntasks: [{id: t, quorum: many}]", "quorum: it should be a mapping"),
        ("job: a\nbudget: {tokens: -1}\ntasks: [{id: t}]", "budget.tokens: -1 allows nothing"),
        ("job: a\nbudget: {wall: -1}\ntasks: [{id: t}]", "budget.wall: -1 allows nothing"),
        ("job: a\nbudget: {tokens: 0}\ntasks: [{id: t}]", "leave it out for no limit"),
        ("job: a\nbudget: {usd: 0}\ntasks: [{id: t}]", "budget.usd: 0 allows nothing"),
        ("job: a\nbudget: {usd: -0.0}\ntasks: [{id: t}]", "budget.usd: -0 allows nothing"),
        ("job: a\nbudget: {usd: .nan}\ntasks: [{id: t}]", "budget.usd: it should be a valid"),
        ("job: a\nbudget: {usd: 1e999}\ntasks: [{id: t}]", "budget.usd: it should be a finite"),
        ("job: a\nbudget: {wall: 0s}\ntasks: [{id: t}]", "budget.wall: 0 allows nothing"),
        ("job: a\nbudget: {tokens: }\ntasks: [{id: t}]", "budget.tokens: it should be a valid"),
        ("job: a\nbudget: {usd: 2e9}\ntasks: [{id: t}]", "budget.usd must be above 0 and at most"),
        ("job: a\nmerge: {run: ' '}\ntasks: [{id: t}]", "merge.run: it is empty: name a program"),
        ("job: a\njudge: sort\ntasks: [{id: t}]", "judge: it should be a mapping"),
        ("job: a\nspeculate: {clones: 9}\ntasks: [{id: t}]", "speculate.clones must be 0"),
        ("job: a\nspeculate: {clones: 1, after: p999}\ntasks: [{id: t}]", "neither a percentile"),
        ("job: a\nspeculate: {clones: 1, after: -3}\ntasks: [{id: t}]", "a time is 0 s to a day"),
    ],
)
def test_each_mistake_is_one_line_that_names_it(text: str, line: str) -> None:
    with pytest.raises(InvalidJob) as caught:
        parse(text)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "job.yaml" in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("{", "line 1: not JSON"),
        ('{"job": "a",\n "tasks": [],\n "job": "b"}', "line 3: key 'job' is given twice"),
        ('{"a": {"x": "}\\"{"}, "b": [{"x": 1}], "a": 1}', "key 'a' is given twice"),
        ('{"a": 1, "\\u0061": 1}', "key 'a' is given twice"),
        ('{"a": NaN}', "not JSON: a number is infinite"),
        ('{"a": ' + "1" * 5_000 + "}", "not JSON: a number is infinite, too long"),
        ("[" * 100_000, "too deeply nested"),
        ('{"project": "p", "tasks": [{"id": "\\ud800", "description": ""}]}', "task id"),
        ('{"\\ud800": 1, "job": "a", "tasks": []}', "unicode"),
        ('{"project": 1, "tasks": []}', "project: must be text"),
        ('{"project": "p", "tasks": []}', "has no tasks"),
    ],
)
def test_each_mistake_in_json_is_one_line_too(text: str, line: str) -> None:
    with pytest.raises(InvalidJob) as caught:
        jobfile.parse(text, "job.json", Path("/nonexistent"), "simulated")
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "job.json" in str(caught.value)


def test_text_stays_text_and_numbers_stay_numbers() -> None:
    """YAML 1.1 would make a date, a boolean, an octal 8 and a sum of these."""
    for word in ("2024-13-45", "2024-01-01", "on", "no", "010", "0x1F", "1_000.x"):
        job = jobfile.parse(f"job: a\ntasks: [{{id: {word}}}]", "j.yaml", Path("."), "simulated")
        assert job.tasks[0].id == word
    job = jobfile.parse(
        "job: a\ntasks: [{id: t, prompt: 12:30, timeout: 1_5e1}]", "j.yaml", Path("."), "simulated"
    )
    assert (job.tasks[0].prompt, job.tasks[0].timeout_s) == ("12:30", 150.0)


def test_aliases_and_merges_may_be_used_within_reason() -> None:
    text = """
job: a
tasks:
  - &first {id: t, agent: command, run: "true", timeout: 5}
  - {<<: *first, id: u, timeout: 6}
"""
    job = jobfile.parse(text, "job.yaml", Path("."), "simulated")
    assert [(task.id, task.program, task.timeout_s) for task in job.tasks] == [
        ("t", "true", 5.0),
        ("u", "true", 6.0),
    ]


def test_aliases_that_multiply_are_refused_before_they_do() -> None:
    lines = [
        "job: &l0 [" + "lol, " * 10 + "]",
        *(f"x{level}: &l{level} [" + f"*l{level - 1}, " * 10 + "]" for level in range(1, 10)),
    ]
    with pytest.raises(InvalidJob, match=r"job\.yaml, line \d: aliases make it over"):
        parse("\n".join(lines))


def test_a_text_beyond_the_limit_is_not_even_looked_at() -> None:
    with pytest.raises(InvalidJob, match="split the job"):
        parse("[" * (document.TEXT_SIZE_MAX + 1))


@contextmanager
def calls_counted() -> Iterator[list[int]]:
    """What the block costs, in calls of Python functions: the same on every machine."""
    calls = [0]

    def count(_: FrameType, event: str, __: object) -> None:
        calls[0] += event == "call"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        yield calls
    finally:
        sys.setprofile(before)


def one_line_tasks(number: int) -> str:
    return "job: a\ntasks:\n" + "".join(f"- {{id: t{each}, prompt: x}}\n" for each in range(number))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (one_line_tasks(57_000), "over 1048576 characters, the limit for YAML"),
        (one_line_tasks(30_000), "line 8002: over 40000 keys and values, the limit for YAML"),
    ],
)
def test_a_long_yaml_text_is_refused_before_it_costs_much(text: str, fault: str) -> None:
    message = rf"{fault}: split the job, or give it as JSON"
    with calls_counted() as calls, pytest.raises(InvalidJob, match=message):
        parse(text)
    assert calls[0] < 10_000_000, "the limit of 40,000 costs six million calls, all of it far more"


@pytest.mark.parametrize("text", ["[" + "1," * 500_000, "[" + "[]," * 300_000])
def test_a_value_is_counted_as_soon_as_it_is_read(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.jobfile.document.YAML_VALUES_MAX", 4_000)
    with calls_counted() as calls, pytest.raises(InvalidJob, match="over 4000 keys and values"):
        parse(text)
    assert calls[0] < 1_000_000, "a tenth of what the whole limit may cost"


@pytest.mark.parametrize(
    ("tasks", "fault"),
    [
        ("1," * 1_900_000 + "1", "task number 1: it should be a mapping"),
        ("{}," * 1_200_000 + "{}", "task number 1, id is missing"),
        ('{"id":"t"},' * 57_000 + '{"id":"t"}', "job has 57001 tasks, the limit is 10000"),
    ],
)
def test_of_a_million_faults_only_the_first_is_looked_for(tasks: str, fault: str) -> None:
    text = f'{{"job": "a", "tasks": [{tasks}]}}'
    with calls_counted() as calls, pytest.raises(InvalidJob, match=fault):
        jobfile.parse(text, "job.json", Path("/nonexistent"), "simulated")
    assert calls[0] < 1_000_000, "each task of the text was looked at"


def test_one_task_stands_for_many_that_are_alike() -> None:
    text = """
job: a
defaults: {agent: command, run: "do {each} for {id} in ${HOME}"}
tasks:
  - {id: map, each: 3, writes: ["{each}.{id}"], prompt: "part {each} of {id}", verify: "ls {each}"}
  - {id: fold, each: [red, blue], needs: [map]}
  - {id: check, each: [red, blue], needs: ["fold-{each}"], title: "is {each} right?"}
  - {id: all, needs: [check, map-2], run: "cat {each}"}
"""
    job = jobfile.parse(text, "job.yaml", Path("/nonexistent"), "simulated")
    tasks = {task.id: task for task in job.tasks}
    maps = ("map-1", "map-2", "map-3")
    assert list(tasks) == [*maps, "fold-red", "fold-blue", "check-red", "check-blue", "all"]
    two = tasks["map-2"]
    assert (two.writes, two.prompt, two.verify) == (("2.map-2",), "part 2 of {id}", "ls 2")
    assert two.program == "do 2 for map-2 in ${HOME}"
    assert tasks["fold-red"].needs == maps, "all of them"
    assert tasks["check-blue"].needs == ("fold-blue",), "its own counterpart"
    assert tasks["check-blue"].title == "is blue right?"
    assert tasks["all"].needs == ("check-red", "check-blue", "map-2")
    assert tasks["all"].program == "cat {each}", "it stands for itself where nothing is repeated"


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"prompt": "x" * 60_000}, "the texts of all tasks are over 6291456 characters together"),
        ({"prompt": "{each}" * 10_000, "each": ["x" * 90]}, "prompt is over 65536 characters"),
        ({"run": "{id}" * 10_000, "each": ["{each}" * 20]}, "run is over 65536 characters"),
        ({"id": "x" * 900_000}, "is over 100 characters"),
        ({"needs": ["other"] * 10}, "needs over 10000 tasks"),
        ({"needs": ["other"]}, "the texts of all tasks are over 6291456 characters together"),
        ({"writes": ["{each}" * 9_000], "each": ["x" * 300]}, "writes is over 65536 characters"),
    ],
)
def test_a_short_text_with_many_repetitions_is_no_bomb(changes: dict[str, Any], fault: str) -> None:
    task = {"id": "t", "each": 5_000, **changes}
    text = json.dumps({"job": "a", "tasks": [task, {"id": "other", "each": 5_000}]})
    with calls_counted() as calls, pytest.raises(InvalidJob, match=fault):
        jobfile.parse(text, "job.json", Path("/nonexistent"), "simulated")
    assert calls[0] < 1_000_000


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("{id}" * 10_000, "verify is over 65536 characters"),
        ("{id}" * 1_000, "of all tasks are over 6291456 characters together"),
    ],
)
def test_ids_in_a_shared_command_line_are_no_bomb(line: str, fault: str) -> None:
    tasks = [{"id": f"t{each}" * 8} for each in range(1_000)]
    text = json.dumps({"job": "a", "defaults": {"verify": line}, "tasks": tasks})
    with pytest.raises(InvalidJob, match=fault):
        jobfile.parse(text, "job.json", Path("/nonexistent"), "simulated")


def test_a_missing_file_is_named() -> None:
    with pytest.raises(InvalidJob, match=r"no job file 'nowhere\.yaml'"):
        jobfile.read("nowhere.yaml", "simulated")


def test_an_unknown_list_is_answered_with_the_known_ones() -> None:
    for name in ("mathutils_p06", "", " "):
        with pytest.raises(InvalidJob, match=r"lists are .*mathutils_p05"):
            jobfile.read(name, "simulated")


def test_what_is_no_readable_file_is_refused_at_once(tmp_path: Path) -> None:
    """A pipe that nobody writes to, or a device without end, must not be waited for."""
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "circle.yaml").symlink_to("circle.yaml")
    (tmp_path / "latin.yaml").write_bytes("job: a\n# für".encode("latin-1"))
    (tmp_path / "wide.json").write_bytes("{}".encode("utf-16"))
    with open(tmp_path / "large.yaml", "wb") as file:
        file.truncate(2**40)
    for source, fault in (
        (str(tmp_path), "is a folder: give the job file in it"),
        (str(tmp_path / "pipe.yaml"), "not a regular file"),
        (str(tmp_path / "circle.yaml"), "symbolic links"),
        ("/dev/zero", "not a regular file"),
        (str(tmp_path / "latin.yaml"), "line 2: not UTF-8 text: save it as UTF-8"),
        (str(tmp_path / "wide.json"), "line 1: not UTF-8 text"),
        (str(tmp_path / "large.yaml"), "split the job"),
        (str(tmp_path / "latin.yaml" / "x.yaml"), "there is no job file"),
        ("x" * 5_000 + ".yaml", "name too long"),
        ("a\0b.yaml", "cannot be read"),
        ("a\nb.yaml", "there is no job file"),
    ):
        with pytest.raises(InvalidJob) as caught:
            jobfile.read(source, "simulated")
        assert fault in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_a_file_without_permission_is_named(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").touch(mode=0o000)
    with pytest.raises(InvalidJob, match="Permission denied"):
        jobfile.read(str(tmp_path / "job.yaml"), "simulated")


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    for name, text in (("a.yaml", WHOLE), ("a.json", json.dumps(PAPER))):
        (tmp_path / name).write_text(text, encoding="utf-8-sig")
        assert jobfile.read(str(tmp_path / name), "simulated").tasks


def test_a_papers_file_may_have_any_name() -> None:
    text = json.dumps(PAPER)
    for name, job_id in (("my list (1).json", "my-list-1-"), ("...json", "job"), ("ä.JSON", "job")):
        assert jobfile.parse(text, name, Path("."), "simulated").id == job_id


def test_every_submission_has_an_id_of_its_own() -> None:
    job = jobfile.parse("job: a\ntasks: [{id: t}]", "job.yaml", Path("."), "simulated")
    ids = {jobfile.with_fresh_id(job).id for _ in range(20)}
    assert len(ids) == 20
    assert all(job_id.startswith("a-") for job_id in ids)


def test_the_longest_name_still_makes_an_id() -> None:
    name = "x" * ID_LENGTH_MAX
    job = jobfile.parse(f"job: {name}\ntasks: [{{id: t}}]", "job.yaml", Path("."), "simulated")
    validate(jobfile.with_fresh_id(job))


# -- whatever is in the file -----------------------------------------------------------------------

PAPER: dict[str, Any] = {
    "project": "P",
    "description": "D",
    "tasks": [
        {"id": "task-1", "title": "T", "description": "Do it.", "files": ["add.py"]},
        {"id": "task-2", "description": "Then.", "dependencies": ["task-1"], "files": ["b.py"]},
    ],
}
_ODD_TEXT = [
    *"\t\n\r\0{}[]:,-&*!|>%@`'\"#?\\~",
    *("&a ", "*a", "<<: *a", "!!int ", "!!binary ", "? ", "---\n", "...\n", "%YAML 9.9\n"),
    *("2024-13-45", "0x", "08", "1e999", ".nan", "NaN", "-Infinity", "12:30:45", "9" * 5_000),
    *("\ud800", "\\ud800", "\\UFFFFFFFF", "\u2028", "\x85", "\ufeff", "[" * 3_000, "../x", "/"),
]
_ODD_VALUES: list[Any] = [
    *(None, True, 0, -1, 2**80, 1.5, float("inf"), "", ".", "..", "/", "\0", "a\nb", "\u202e"),
    *([], {}, [[]], [None], {"a": 1}, [{"id": 3}], "x" * 300, "\ud800", "a/b", "manifest.json"),
]


@st.composite
def damaged(draw: st.DrawFn, text: str) -> str:
    """`text` with some of it cut out, said again, or replaced by what is seldom written."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        odd = draw(st.sampled_from(["", text[start:end] * 2, *_ODD_TEXT]) | st.text(max_size=4))
        text = text[:start] + odd + text[end:]
    return text


@st.composite
def distorted(draw: st.DrawFn, content: dict[str, Any]) -> dict[str, Any]:
    """`content` with some value, at any depth, replaced by another kind of value."""
    content = copy.deepcopy(content)
    for _ in range(draw(st.integers(1, 3))):
        at: Any = content
        while True:
            key = draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
            if not (isinstance(at[key], dict | list) and at[key]) or draw(st.booleans()):
                at[key] = copy.deepcopy(draw(st.sampled_from(_ODD_VALUES)))
                break
            at = at[key]
    return content


def must_be_a_job_or_invalid(text: str, name: str) -> None:
    complaint = ""
    try:
        job = jobfile.parse(text, name, Path("/nonexistent"), "simulated")
    except InvalidJob as fault:
        complaint = str(fault)
    else:
        validate(jobfile.with_fresh_id(job))
    if complaint:
        assert complaint.startswith(name)
        assert len(complaint.splitlines()) == 1
        assert len(complaint) < 1_000


many = settings(bounded, max_examples=400)


@many
@given(damaged(WHOLE))
@example("a: 'b\x85")
def test_damaged_yaml_is_a_job_or_invalid(text: str) -> None:
    must_be_a_job_or_invalid(text, "job.yaml")


@many
@given(damaged(json.dumps(PAPER, indent=1)))
def test_damaged_json_is_a_job_or_invalid(text: str) -> None:
    must_be_a_job_or_invalid(text, "job.json")


@many
@given(distorted(yaml.safe_load(WHOLE)))
def test_ours_with_odd_values_is_a_job_or_invalid(content: dict[str, Any]) -> None:
    must_be_a_job_or_invalid(json.dumps(content), "job.json")


@many
@given(distorted(PAPER))
def test_the_papers_with_odd_values_is_a_job_or_invalid(content: dict[str, Any]) -> None:
    must_be_a_job_or_invalid(json.dumps(content), "job.json")
