"""The packaged lists: their shape, their prompts, and every worked answer through every check.

The task files of the paper are not part of the project. Where they lie beside the checkout, or in
the folder that QUORATE_PAPER_TASKS names, the same answers and the same checks must serve them.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from node import lists
from node.lists import checks, packaged
from node.model import book
from protocol import graph
from protocol.errors import InvalidJob
from protocol.job_rules import validate, warnings_of
from protocol.jobs import Job, Task

CHECK_TIMEOUT_S = 20.0
CHAIN_OF_SHAPE = {"p02": 16, "p05": 10, "p09": 2}
PAPER_SUITES = {
    "mathutils": "mathutilities20",
    "salesdata": "dataanalysis",
    "svgutils": "svgutils",
}
_BESIDE_CHECKOUT = Path(__file__).resolve().parents[2] / "shared" / "paper" / "tasks"
PAPER = Path(os.environ.get("QUORATE_PAPER_TASKS") or _BESIDE_CHECKOUT)
needs_paper = pytest.mark.skipif(
    not PAPER.is_dir(), reason="no task files of the paper: set QUORATE_PAPER_TASKS to their folder"
)


def paper_file(name: str) -> Path:
    suite, _, shape = name.rpartition("_")
    return PAPER / f"{PAPER_SUITES[suite]}_{shape}.json"


def paper_tasks(name: str) -> list[dict[str, Any]]:
    """The tasks of the paper's counterpart to one of our lists, as its file has them."""
    content: dict[str, Any] = json.loads(paper_file(name).read_text(encoding="utf-8"))
    tasks: list[dict[str, Any]] = content["tasks"]
    return tasks


def paper_job(name: str) -> Job:
    """The same as a job, with our checks."""
    tasks = paper_tasks(name)
    needs = {task["id"]: tuple(task["dependencies"]) for task in tasks}
    writes = {task["id"]: tuple(task["files"]) for task in tasks}
    found = lists.checks_for(needs, writes, needs)
    return Job(
        id=name,
        name=name,
        tasks=tuple(
            Task(
                id=task["id"],
                prompt=task["description"],
                needs=needs[task["id"]],
                writes=writes[task["id"]],
                verify=found.verify[task["id"]],
            )
            for task in tasks
        ),
        files=found.files,
    )


def answers_of(job: Job) -> dict[str, str]:
    """Path -> worked answer, each made from its own task's prompt."""
    found = {}
    for task in job.tasks:
        for path in task.writes:
            content = book.answer(path, f"{job.description}\n\n{task.prompt}")
            assert content is not None, f"no worked answer for {path}"
            found[path] = content
    return found


def lay_out(folder: Path, job: Job, task: Task, answers: dict[str, str]) -> None:
    """A scratch folder as a node makes one: the job's files, the accepted files, the result."""
    for file in job.files:
        target = folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.content)
    for name in (task.id, *graph.ancestors_of(job.needs, task.id)):
        for path in job.task(name).writes:
            (folder / path).write_text(answers[path], encoding="utf-8")


def verify(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    """The verify command, run as the shell would."""
    words = [sys.executable if word == "{python}" else word for word in line.split()]
    return subprocess.run(
        words, cwd=folder, capture_output=True, text=True, timeout=CHECK_TIMEOUT_S, check=False
    )


def faults_of(job: Job, root: Path) -> list[str]:
    """What the checks say against the worked answers, each in a folder of its own."""
    answers = answers_of(job)
    faults = []
    for task in job.tasks:
        folder = root / task.id
        folder.mkdir()
        lay_out(folder, job, task, answers)
        ended = verify(folder, task.verify)
        if ended.returncode:
            faults.append(f"{task.id}: exit {ended.returncode}: {ended.stdout}{ended.stderr}")
    return faults


# -- shape ---------------------------------------------------------------------------------------


def test_there_are_three_suites_in_three_shapes() -> None:
    assert len(lists.names()) == 9
    assert lists.names()[:3] == ("mathutils_p02", "mathutils_p05", "mathutils_p09")


def test_unknown_list_is_refused_with_the_names_of_all() -> None:
    with pytest.raises(InvalidJob, match=r"no packaged list 'mathutils_p03'.*svgutils_p09"):
        lists.load("mathutils_p03")


@pytest.mark.parametrize("name", lists.names())
def test_list_is_a_chain_and_tasks_on_their_own(name: str) -> None:
    job = lists.load(name)
    validate(job)
    assert warnings_of(job) == []
    assert job.id == job.name == name
    assert len(job.tasks) == 20
    chain = graph.critical_path(job.needs)
    assert len(chain) == CHAIN_OF_SHAPE[name[-3:]]
    alone = [task for task in job.tasks if task.id not in chain]
    assert all(task.needs == () for task in alone)
    assert not {task.id for task in alone} & {need for task in job.tasks for need in task.needs}


@pytest.mark.parametrize("name", lists.names())
def test_prompt_names_file_signature_and_imports(name: str) -> None:
    for task in lists.load(name).tasks:
        source = book.answer(f"{task.id}.py", task.prompt)
        assert source is not None
        assert task.writes == (f"{task.id}.py",)
        assert f"`{task.id}.py`" in task.prompt
        (line,) = [each for each in task.prompt.splitlines() if f"def {task.id}(" in each]
        assert signature(f"{line.strip()} ...") == signature(source)
        for path in checks.imports_of(f"{task.id}.py"):
            module = path.removesuffix(".py")
            assert f"from {module} import {module}" in task.prompt
        assert task.verify == f"{{python}} tests/check.py tests/test_{task.id}.py"


def signature(source: str) -> str:
    """Arguments and result of the only function in `source`, in one spelling."""
    (function,) = [each for each in ast.parse(source).body if isinstance(each, ast.FunctionDef)]
    assert function.returns is not None
    return f"{ast.unparse(function.args)} -> {ast.unparse(function.returns)}"


@pytest.mark.parametrize("suite", packaged.SUITES)
def test_declared_imports_are_those_of_the_answers(suite: str) -> None:
    for shape in packaged.SHAPES:
        for task in lists.load(f"{suite}_{shape}").tasks:
            named = {
                line.split()[1] + ".py"
                for line in task.prompt.splitlines()
                if line.startswith("    from ")
            }
            assert named == checks.imports_of(f"{task.id}.py")


def test_undeclared_import_is_said_to_be_somebody_elses_task() -> None:
    undeclared = lists.load("svgutils_p09").task("make_rect").prompt
    assert "`fmt_num.py` is another task of this job and may not exist yet" in undeclared
    declared = lists.load("svgutils_p09").task("fmt_coord").prompt
    assert "may not exist yet" not in declared


def test_packaged_tests_cover_the_book_and_nothing_else() -> None:
    folder = Path(checks.__file__).with_name("tests")
    tested = {page.name.removeprefix("test_") for page in folder.glob("*/test_*.py")}
    assert tested == set(book.paths())


# -- checks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", lists.names())
def test_every_worked_answer_passes_its_check(name: str, tmp_path: Path) -> None:
    assert faults_of(lists.load(name), tmp_path) == []


def test_doubles_stand_in_for_undeclared_imports_only() -> None:
    def doubles(name: str) -> list[str]:
        found = [file.path for file in lists.load(name).files]
        return [path for path in found if path.startswith("tests/doubles/")]

    assert doubles("mathutils_p09") == doubles("salesdata_p02") == []
    assert doubles("svgutils_p02") == ["tests/doubles/fmt_num.py"]  # for line and ellipse
    assert "tests/doubles/fmt_points.py" in doubles("svgutils_p09")
    assert "tests/doubles/make_text.py" in doubles("svgutils_p05")


def test_accepted_file_wins_over_its_double(tmp_path: Path) -> None:
    job = lists.load("svgutils_p09")
    task = job.task("make_rect")
    lay_out(tmp_path, job, task, answers_of(job))
    (tmp_path / "fmt_num.py").write_text("def fmt_num(n):\n    return 'mine'\n")
    ended = verify(tmp_path, task.verify)
    assert ended.returncode == 1
    assert 'x="mine"' in ended.stdout


def test_check_quotes_the_assertion_and_what_came_instead(tmp_path: Path) -> None:
    job = lists.load("mathutils_p09")
    task = job.task("double")
    lay_out(tmp_path, job, task, {"double.py": "def double(x):\n    return x + 3\n"})
    ended = verify(tmp_path, task.verify)
    assert ended.returncode == 1
    assert ended.stdout == ("test_double_gives_twice_the_number: assert double(7) == 14: got 10\n")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("def double(x)\n", "test_double: cannot be imported: SyntaxError: expected ':'"),
        ("import sys\nsys.exit(0)\n", "test_double: cannot be imported: SystemExit: 0"),
        ("def twice(x):\n    return 2 * x\n", "ImportError: cannot import name 'double'"),
        ("def double(x):\n    raise SystemExit(0)\n", "assert double(7) == 14: SystemExit: 0"),
    ],
)
def test_check_is_not_fooled_by_a_module_that_ends_early(
    content: str, said: str, tmp_path: Path
) -> None:
    job = lists.load("mathutils_p09")
    task = job.task("double")
    lay_out(tmp_path, job, task, {"double.py": content})
    ended = verify(tmp_path, task.verify)
    assert ended.returncode == 1
    assert said in ended.stdout


def test_check_without_tests_has_an_exit_status_of_its_own(tmp_path: Path) -> None:
    job = lists.load("mathutils_p09")
    lay_out(tmp_path, job, job.task("double"), answers_of(job))
    (tmp_path / "tests" / "test_empty.py").write_text("")
    assert verify(tmp_path, "{python} tests/check.py").returncode == 2
    assert verify(tmp_path, "{python} tests/check.py tests/test_none.py").returncode == 2
    assert verify(tmp_path, "{python} tests/check.py tests/test_empty.py").returncode == 2


def test_check_leaves_no_file_behind(tmp_path: Path) -> None:
    job = lists.load("mathutils_p09")
    task = job.task("safe_add")
    lay_out(tmp_path, job, task, answers_of(job))
    before = sorted(tmp_path.rglob("*"))
    assert verify(tmp_path, task.verify).returncode == 0
    assert sorted(tmp_path.rglob("*")) == before


def test_pytest_runs_the_packaged_tests_too(tmp_path: Path) -> None:
    job = lists.load("salesdata_p05")
    answers = answers_of(job)
    for task in job.tasks:
        lay_out(tmp_path, job, task, answers)
    ended = verify(tmp_path, "{python} -m pytest -q -p no:cacheprovider -p no:asyncio tests")
    assert ended.returncode == 0, ended.stdout


# -- foreign jobs --------------------------------------------------------------------------------


def test_foreign_file_without_a_test_gets_no_check() -> None:
    assert lists.checks_for({"task-1": ()}, {"task-1": ("matrix.py",)}, ["task-1"]) == lists.Checks(
        {}, ()
    )


def test_foreign_task_of_two_files_is_checked_for_both() -> None:
    found = lists.checks_for(
        {"both": ()}, {"both": ("fmt_num.py", "double.py", "notes.md")}, ["both"]
    )
    assert found.verify == {
        "both": "{python} tests/check.py tests/test_fmt_num.py tests/test_double.py"
    }


def test_foreign_need_that_names_no_task_is_left_to_validation() -> None:
    found = lists.checks_for({"one": ("nowhere",)}, {"one": ("safe_add.py",)}, ["one"])
    assert "tests/doubles/add.py" in [file.path for file in found.files]


@needs_paper
@pytest.mark.parametrize("name", lists.names())
def test_our_graph_is_that_of_the_paper(name: str) -> None:
    tasks = paper_tasks(name)
    function = {task["id"]: task["files"][0].removesuffix(".py") for task in tasks}
    theirs = [
        (function[task["id"]], tuple(function[need] for need in task["dependencies"]))
        for task in tasks
    ]
    assert list(lists.load(name).needs.items()) == theirs


@needs_paper
@pytest.mark.parametrize("name", lists.names())
def test_answers_from_the_papers_prompts_pass_our_checks(name: str, tmp_path: Path) -> None:
    job = paper_job(name)
    validate(job)
    assert faults_of(job, tmp_path) == []


@needs_paper
def test_our_words_and_data_are_not_the_papers() -> None:
    theirs = {
        line.strip()
        for name in lists.names()
        for task in paper_tasks(name)
        for line in task["description"].replace(". ", ".\n").splitlines()
    }
    ours = {
        line.strip()
        for name in lists.names()
        for task in lists.load(name).tasks
        for line in task.prompt.replace(". ", ".\n").splitlines()
    }
    code = {"]", "SALES_RECORDS = [", "SAMPLE_DATA = [", ""}
    assert ours & theirs <= code


def test_a_foreign_function_of_the_same_name_is_not_held_to_our_test() -> None:
    ours = "Write mean.py with mean(lst: list) -> float, the arithmetic mean."
    theirs = "Write mean.py with mean(matrix: Matrix, axis: int) -> Matrix."
    assert lists.asks_for("mean.py", ours)
    assert not lists.asks_for("mean.py", theirs)
    assert not lists.asks_for("matrix.py", ours)
