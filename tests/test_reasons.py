"""A long account of a failure: its end, which says why, is what a user sees, and not too much."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from command_line import quorate

from node.agents.process import Ended
from node.cli.reasons import in_table, is_cut, last_line
from node.prompt.shown import LAST_WORDS_SIZE_MAX, last_lines

CAUSE = "ValueError: THE REAL CAUSE"
FRAME = '  File "module.py", line {}, in a_function_with_quite_a_long_name_of_its_own'
TRACE = "\n".join([*(FRAME.format(number) for number in range(40)), CAUSE])
FAILING = f"""\
import sys
print({TRACE!r}, file=sys.stderr)
sys.exit(1)
"""
JOB = """
job: long
files: [failing.py]
defaults: {agent: command}
tasks:
  - {id: told, run: 'PYTHON failing.py'}
  - {id: checked, run: echo something, writes: [some.txt], verify: 'PYTHON failing.py'}
"""


def test_the_last_lines_are_whole() -> None:
    assert last_lines(TRACE, 10_000) == TRACE
    mark, *kept = last_lines(TRACE, 400).splitlines()
    assert mark == "..."
    assert kept == TRACE.splitlines()[-len(kept) :]
    assert len(kept) > 3


def test_of_one_line_that_is_too_long_both_ends_are_kept() -> None:
    line = f"ValueError: {'x' * 5_000} was not expected"
    for text in (line, f"Traceback\n{line}"):
        kept = last_lines(text, 100)
        assert "ValueError: xx" in kept
        assert kept.endswith("was not expected")
        assert len(kept) <= 100


@pytest.mark.parametrize("letter", ["x", "\u00fc", "\U0001f600"])
def test_what_a_program_said_fits_before_the_end_that_others_cut(letter: str) -> None:
    said = "\n".join([letter * 60] * 200 + [CAUSE]).encode()
    kept = Ended(1, b"", said).last_lines()
    assert len(kept) <= LAST_WORDS_SIZE_MAX
    assert kept.endswith(CAUSE)
    assert set(kept.splitlines()) == {"...", letter * 60, CAUSE}


def test_a_reason_takes_a_few_lines_of_a_table_each_of_them_indented() -> None:
    first, *others = in_table(f"3 attempts failed: {TRACE}").splitlines()
    assert first.startswith("3 attempts failed:   File")
    assert others[-1].endswith(CAUSE)
    assert len(others) <= 4
    assert all(line.startswith("      | ") for line in others)
    assert is_cut(TRACE)
    assert not is_cut("short\nand to the point")
    assert in_table("short") == "short"
    assert last_line(TRACE) == CAUSE


def test_the_cause_at_the_end_of_a_long_message_is_seen_everywhere(tmp_path: Path) -> None:
    (tmp_path / "failing.py").write_text(FAILING)
    (tmp_path / "long.yaml").write_text(JOB.replace("PYTHON", sys.executable))
    said = quorate("run", "long.yaml", "-n", "2", "--keep", "team", folder=tmp_path)
    assert said.returncode == 1
    rows = re.split(r"\n(?=\S|  \w)", said.stdout)  # a row with what is indented below it
    for task in ("told", "checked"):
        (row,) = (row for row in rows if row.startswith(f"  {task} abandoned: "))
        assert row.endswith(CAUSE)
        assert len(row.splitlines()) <= 5
    assert "quorate why TASK" in said.stdout
    for task in ("told", "checked"):
        why = quorate("why", task, "--dir", "team", folder=tmp_path).stdout
        assert why.rstrip().endswith(CAUSE)
        frames = [line.split("| ", 1)[1] for line in why.splitlines() if "module.py" in line]
        assert frames
        assert set(frames) <= set(TRACE.splitlines()), "whole lines only"
