"""An answer that was cut off, and what follows: they become the answer that it would have been."""

from __future__ import annotations

import pytest
from agent_setup import read_answer
from hypothesis import given
from hypothesis import strategies as st
from properties import bounded

from node.agents.continuing import LEAD_MAX, Seam
from node.prompt.follow_up import (
    ANCHOR_LINES_MAX,
    anchor_of,
    continue_prompt,
    keep_lines,
    read_kept,
)

WANTED = ("a.py", "b.py", "c.md")
LINES = st.sampled_from(
    ["", "x = 1", "x = 1 ", "    return x", "}", "# ü 😀", "\tx", "y\r", "a.py", "- b.py", "--"]
)
CONTENTS = st.lists(LINES, max_size=12)


def fenced(path: str, lines: list[str]) -> str:
    body = "".join(f"{line}\n" for line in lines)
    return f"```python path={path}\n{body}```\n"


ANSWERS = st.builds(
    lambda lead, first, between, second, third: (
        f"{lead}\n{fenced('a.py', first)}{between}\n{fenced('b.py', second)}"
        f"````md path=c.md\n{fenced('x.py', third)}````"
    ),
    st.sampled_from(["", "Here you are:", "x = 1"]),
    CONTENTS,
    st.sampled_from(["", "And:", "}"]),
    CONTENTS,
    CONTENTS,
)


def joined(kept: str, continuation: str, sizes: list[int] | None = None) -> str:
    """What comes out of the seam when the continuation comes in pieces of these sizes."""
    seam = Seam(kept, WANTED)
    pieces = []
    for size in sizes or []:
        pieces.append(seam.feed(continuation[:size]))
        continuation = continuation[size:]
    return "".join((*pieces, seam.feed(continuation), seam.close()))


def rest_of(text: str, kept: str) -> str:
    """What a model that does as it is told writes."""
    return "".join(f"{line}\n" for line in anchor_of(kept)) + text[len(kept) :]


@given(ANSWERS, st.integers(0, 400), st.lists(st.integers(0, 30), max_size=8))
@bounded
def test_no_byte_is_lost_or_doubled_wherever_the_answer_was_cut(
    text: str, cut: int, sizes: list[int]
) -> None:
    kept = keep_lines(text[:cut])
    whole = joined(kept, rest_of(text, kept), sizes)
    assert whole == text
    assert read_answer(whole, WANTED) == read_answer(text, WANTED)


@given(
    ANSWERS,
    st.integers(0, 400),
    st.sampled_from(["Sure.\n", "\n\n", "```\n", "I go on:\n\n"]),
)
@bounded
def test_words_before_the_repeated_lines_are_left_out(text: str, cut: int, lead: str) -> None:
    kept = keep_lines(text[:cut])
    if kept:
        assert joined(kept, lead + rest_of(text, kept)) == text


@given(ANSWERS, st.integers(0, 400), st.lists(st.integers(0, 30), max_size=8), st.text())
@bounded
def test_what_comes_out_does_not_depend_on_the_pieces(
    text: str, cut: int, sizes: list[int], words: str
) -> None:
    kept = keep_lines(text[:cut])
    blank = "\n" * 20 + "```python path=a.py\nx = 1\n"
    for continuation in (words, text, text[len(kept) :], blank):
        assert joined(kept, continuation, sizes) == joined(kept, continuation)


@given(ANSWERS, st.integers(0, 400))
@bounded
def test_what_is_kept_are_whole_lines_and_its_end_is_in_it_once(text: str, cut: int) -> None:
    kept = keep_lines(text[:cut])
    assert text.startswith(kept)
    assert not kept or kept.endswith("\n")
    anchor = anchor_of(kept)
    assert kept.split("\n")[:-1][len(kept.split("\n")) - 1 - len(anchor) :] == list(anchor)
    plain = [line.strip() for line in kept.split("\n")[:-1]]
    tail = [line.strip() for line in anchor]
    found = [at for at in range(len(plain)) if plain[at : at + len(tail)] == tail]
    assert not kept or len(found) == 1 or len(anchor) == ANCHOR_LINES_MAX
    assert not kept or tail[-1]


KEPT = "```python path=a.py\nimport x\n\nx = 1\n"
OTHER = fenced("b.py", ["y"])


@pytest.mark.parametrize(
    ("continuation", "content"),
    [
        (f"x = 2\n```\n{OTHER}", "import x\n\nx = 1\nx = 2\n"),
        (f"```python path=a.py\nx = 2\n```\n{OTHER}", "import x\n\nx = 1\nx = 2\n"),
        (f"\n```python\nx = 2\n```\n{OTHER}", "import x\n\nx = 1\nx = 2\n"),
        (f"```python path=a.py\nx = 1\nx = 2\n```\n{OTHER}", "import x\n\nx = 1\nx = 2\n"),
        (f"I go on:\n\n```python\nx = 1\nx = 2\n```\n{OTHER}", "import x\n\nx = 1\nx = 2\n"),
        (f"```python path=a.py\nimport x\n\nz = 3\n```\n{OTHER}", "import x\n\nz = 3\n"),
        (f"```\n{OTHER}", "import x\n\nx = 1\n"),
    ],
)
def test_a_model_that_does_not_do_as_it_is_told_is_understood(
    continuation: str, content: str
) -> None:
    answer = read_answer(joined(KEPT, continuation), ("a.py", "b.py"))
    assert [file.content.decode() for file in answer.files] == [content, "y\n"]


def test_a_model_that_goes_on_with_another_file_has_left_the_first_one() -> None:
    answer = read_answer(joined(KEPT, OTHER), ("a.py", "b.py"))
    assert answer.missing == ("a.py",)
    again = fenced("b.py", ["x = 1", "y"])
    assert joined(KEPT, again) == KEPT + again
    assert answer.faults == ("a.py: its fence is not closed",)


def test_a_block_within_a_text_is_part_of_it() -> None:
    kept = "````md path=c.md\nUse:\n"
    answer = read_answer(joined(kept, "```python\nx\n```\n````\n"), WANTED)
    assert [file.content for file in answer.files] == [b"Use:\n```python\nx\n```\n"]


def test_lines_that_come_again_are_not_taken_for_the_repeated_ones() -> None:
    going_on = "y = 1\nx = 1\nx = 2\n```\n"
    assert joined(KEPT, going_on) == KEPT + going_on
    kept = "```python path=a.py\nx = 1\ny = 1\nx = 1\n"
    assert anchor_of(kept) == ("y = 1", "x = 1")
    assert joined(kept, "Z.\nx = 1\n```\n") == f"{kept}Z.\nx = 1\n```\n"
    assert joined(kept, "Z.\ny = 1\nx = 1\n```\n") == f"{kept}```\n"


@pytest.mark.parametrize("repeated", range(1, 8))
def test_a_model_may_repeat_fewer_lines_than_it_is_told_to_or_more(repeated: int) -> None:
    lines = ["```python path=a.py", "def f():", "    return 1", "def g():", "    if x:"]
    lines += ["        y()", "    return 1"]
    kept = "".join(f"{line}\n" for line in lines)
    assert len(anchor_of(kept)) == 2
    again = "".join(f"{line}\n" for line in lines[-repeated:])
    rest = "def h():\n    return 1\n```\n"
    assert joined(kept, again + rest) == kept + rest
    assert joined(kept, again + rest, [1] * len(again)) == kept + rest


def test_a_line_of_another_indent_is_not_taken_for_a_repeated_one() -> None:
    kept = "```js path=a.py\na {\n    b {\n        }\n    }\n"
    assert len(anchor_of(kept)) > 1
    assert joined(kept, "}\n```\n") == f"{kept}}}\n```\n"


def test_the_repeated_lines_are_looked_for_near_the_beginning_only() -> None:
    lead = "Z.\n" * (LEAD_MAX + 1)
    assert joined(KEPT, f"{lead}x = 1\n```\n") == f"{KEPT}{lead}x = 1\n```\n"


def test_an_answer_without_a_whole_line_is_begun_again() -> None:
    assert keep_lines("Here is") == keep_lines("\n \nHere is") == ""
    assert joined("", OTHER) == OTHER


def test_the_request_to_go_on_is_read_back() -> None:
    assert read_kept(continue_prompt(KEPT)) == KEPT
    assert read_kept(continue_prompt(KEPT)[:1]) == ""
    assert "\n\nx = 1\n\n" in continue_prompt(KEPT)[1].content
