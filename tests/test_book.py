"""The answer book: every mistake in it is caught, whichever data the prompt brings."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from node import lists
from node.lists import checks, packaged
from node.model import book

CHECK_TIMEOUT_S = 60.0
SUITES = packaged.SUITES

# As different from the book's own data as the tasks allow: ties, one product, whole prices.
OTHER_RECORDS = (
    """SALES_RECORDS = [
  {"product": "Oak",   "units": 1, "price": 2.0, "region": "A", "month": "Z"},
  {"product": "Ash",   "units": 0, "price": 2.0, "region": "A", "month": "Z"},
"""
    + '  {"product": "Oak", "units": 1, "price": 1.0, "region": "B", "month": "Y"},\n' * 10
    + "]"
)
OTHER_SAMPLE = (
    'SAMPLE_DATA = [{"product": "Elm", "units": 1, "price": 1.0, "region": "A", "month": "B"}]'
)
_BESIDE_CHECKOUT = Path(__file__).resolve().parents[2] / "shared" / "paper" / "tasks"
PAPER = Path(os.environ.get("QUORATE_PAPER_TASKS") or _BESIDE_CHECKOUT)
DATA = ("own data", "other data", "data of the paper")


def prompt_with(data: str) -> str:
    """A prompt that brings this data; the paper's is there only where its task files are."""
    if data == "own data":
        return ""
    if data == "other data":
        return f"Use this:\n\n{OTHER_RECORDS}\n\n{OTHER_SAMPLE}\nThank you."
    file = PAPER / "dataanalysis_p02.json"
    if not file.is_file():
        pytest.skip("no task files of the paper: set QUORATE_PAPER_TASKS to their folder")
    tasks = json.loads(file.read_text(encoding="utf-8"))["tasks"]
    return "\n\n".join(task["description"] for task in tasks)


# One process checks all mistakes of a suite: each in a child of its own, by fork, so that a
# mistake that breaks the interpreter's state harms nobody else.
RUNNER = """
import os, sys
sys.path.insert(0, "tests")
import check
for name in sys.argv[1:]:
    mutant, _, path = name.partition(":")
    child = os.fork()
    if not child:
        os.chdir(mutant)
        sys.path.insert(0, os.path.dirname(os.getcwd()))
        os._exit(check.main([path]))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print("VERDICT", mutant, status, flush=True)
"""


def paths_of(suite: str) -> list[str]:
    return [path for path in book.paths() if book.suite_of(path) == suite]


def verdicts_on(suite: str, prompt: str, folder: Path) -> dict[str, int]:
    """Mutant -> exit status of its check, with right answers for all that it imports."""
    paths = paths_of(suite)
    needs = {path: tuple(sorted(checks.imports_of(path))) for path in paths}
    for file in lists.checks_for(needs, {path: (path,) for path in paths}, paths).files:
        target = folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.content)
    names = []
    for path in paths:
        (folder / path).write_text(right(path, prompt), encoding="utf-8")
        for seed in range(-1, len(book.mistakes_of(path))):
            content = book.wrong_answer(path, prompt, seed) if seed >= 0 else right(path, prompt)
            assert content is not None
            mutant = folder / f"{path.removesuffix('.py')}.{seed}"
            mutant.mkdir()
            (mutant / path).write_text(content, encoding="utf-8")
            names.append(f"{mutant.name}:{folder / 'tests' / f'test_{path}'}")
    ended = subprocess.run(
        [sys.executable, "-c", RUNNER, *names],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=CHECK_TIMEOUT_S,
        check=True,
    )
    lines = [line.split() for line in ended.stdout.splitlines() if line.startswith("VERDICT ")]
    assert len(lines) == len(names)
    return {mutant: int(status) for _, mutant, status in lines}


def right(path: str, prompt: str) -> str:
    content = book.answer(path, prompt)
    assert content is not None
    return content


# -- answers and mistakes ------------------------------------------------------------------------


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("suite", SUITES)
def test_checks_pass_right_answers_and_catch_every_mistake(
    suite: str, data: str, tmp_path: Path
) -> None:
    verdicts = verdicts_on(suite, prompt_with(data), tmp_path)
    wanted = {mutant: 0 if mutant.endswith(".-1") else 1 for mutant in verdicts}
    assert verdicts == wanted


@pytest.mark.parametrize("path", book.paths())
def test_each_mistake_is_one_edit_in_a_file_that_still_compiles(path: str) -> None:
    mistakes = book.mistakes_of(path)
    assert mistakes
    assert len({mistake.fault for mistake in mistakes}) == len(mistakes)
    source = right(path, "")
    for seed, mistake in enumerate(mistakes):
        assert source.count(mistake.right) == 1
        wrong = book.wrong_answer(path, "", seed)
        assert wrong is not None
        assert wrong != source
        compile(wrong, path, "exec")


@pytest.mark.parametrize("path", book.paths())
def test_each_answer_is_one_function_with_a_docstring_of_one_line(path: str) -> None:
    tree = ast.parse(right(path, ""))
    (function,) = [each for each in tree.body if isinstance(each, ast.FunctionDef)]
    assert f"{function.name}.py" == path
    assert len((ast.get_docstring(function) or "").splitlines()) == 1


def test_names_are_unique_across_the_suites() -> None:
    assert sum(len(paths_of(suite)) for suite in SUITES) == len(book.paths()) == 89


def test_book_of_mistakes_holds_no_other_files() -> None:
    for path in ("no_such_file.py", "src/add.py", "add", "", "../add.py"):
        assert not book.knows(path)
        assert book.answer(path, "") is None
        assert book.wrong_answer(path, "", 1) is None
        assert book.mistakes_of(path) == ()


def test_wrong_answers_follow_from_the_seed() -> None:
    drawn = {book.wrong_answer("variance.py", "", seed) for seed in range(20)}
    assert len(drawn) == len(book.mistakes_of("variance.py"))
    assert book.wrong_answer("add.py", "", 7) == book.wrong_answer("add.py", "", 7)


# -- data from the prompt ------------------------------------------------------------------------


def test_answer_takes_its_data_from_the_prompt() -> None:
    names: dict[str, list[dict[str, object]]] = {}
    exec(right("get_records.py", prompt_with("other data")), names)
    assert [record["product"] for record in names["SALES_RECORDS"]] == ["Oak", "Ash"] + ["Oak"] * 10
    assert "Elm" in right("sort_by_price.py", prompt_with("other data"))
    wrong = book.wrong_answer("sort_by_price.py", prompt_with("other data"), 0)
    assert wrong is not None
    assert "Elm" in wrong


def test_first_literal_of_the_prompt_counts() -> None:
    prompt = "SAMPLE_DATA = [1]\nas was:\nSAMPLE_DATA = [2]\n"
    assert "SAMPLE_DATA = [1]\n" in right("total_units.py", prompt)


@pytest.mark.parametrize(
    "hostile",
    [
        "SAMPLE_DATA = [__import__('os').system('true')]",
        "SAMPLE_DATA = [1, 2",
        "SAMPLE_DATA = [" * 1_000,
        "SAMPLE_DATA = " + "[" * 20_000 + "]" * 20_000,
        "SAMPLE_DATA = [" + "1, " * 20_000 + "]",
        "SAMPLE_DATA = [1, x" + "]" * 20_000,
        "MY_SAMPLE_DATA = [3]",
    ],
    ids=["call", "open", "repeated", "deep", "long", "brackets", "other name"],
)
def test_what_is_no_literal_is_not_taken(hostile: str) -> None:
    assert right("total_units.py", hostile) == right("total_units.py", "")


def test_our_prompts_bring_the_data_that_the_book_shows() -> None:
    for name in lists.names():
        for task in lists.load(name).tasks:
            (path,) = task.writes
            assert right(path, task.prompt) == right(path, "")


# -- questions -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "question",
    [
        "How many voters of five must agree?",
        "how many voters of five must agree",
        "  How many voters\n of five must agree ? ",
        "How many of five voters must agree?",
    ],
)
def test_question_is_found_whatever_its_case_and_punctuation(question: str) -> None:
    assert book.answer_question(question) == "3"


def test_numbers_in_questions_keep_their_decimals() -> None:
    question = "What speedup does Amdahl’s law allow five agents at p = 0.9?"
    assert book.answer_question(question) == "3.57"
    assert book.answer_question(question.replace("0.9", "0.95")) is None


def test_unknown_question_has_no_answer() -> None:
    assert book.answer_question("Who won?") is None
    assert book.answer_question("") is None
    assert book.answer_question("How many voters of five must agree?" + " " * 10_000) is None


def test_wrong_answers_to_questions_are_wrong_and_follow_from_the_seed() -> None:
    question = "How many voters of five must agree?"
    wrong = {book.answer_wrongly(question, seed) for seed in range(10)}
    assert wrong == {"2", "4", "5"}
    assert book.answer_wrongly("Who won?", 1) is None
