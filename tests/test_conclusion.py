"""Which part of a text is the answer, and when two answers are alike."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.conclusion import conclusion_of, folded_conclusion, has_conclusion
from protocol.jobs import Compare, likeness_of


@pytest.mark.parametrize(
    ("text", "conclusion"),
    [
        ("Three of five are more than half.\nAnswer: 3", "3"),
        ("**Answer:** 3", "3"),
        ("**Answer: 3**", "3"),
        ("**Answer:** **3**", "**3**"),
        ("## Final answer:\n\n3\n", "3"),
        ("> my ANSWER : 3", "3"),
        ("Answer: 4\nNo, that was wrong.\nAnswer: 3", "3"),
        ("Answer: these\n- a\n- b", "these\n- a\n- b"),
        ("The answer: 3", "The answer: 3"),
        ("Answers: 3", "Answers: 3"),
        ("It is 3.\nAnswer:", "It is 3.\nAnswer:"),
        ("  3\n", "3"),
        ("", ""),
    ],
)
def test_the_answer_is_what_follows_the_last_mark(text: str, conclusion: str) -> None:
    assert conclusion_of(text) == conclusion


@pytest.mark.parametrize(
    ("one", "other", "agree"),
    [
        ("By counting.\nAnswer: 3", "Answer: 3", True),
        ("Answer: 3", "3", True),
        ("Answer: **3**.", "`3.`", True),
        ("Answer: No", "no.", True),
        ("Answer:  two\twords", "Two words", True),
        ("Answer: 3", "Answer: 4", False),
        ("Answer: ÀĐẠ", "Answer: àđạ", True),
        ("Answer: ΟΔΟΣ", "Answer: οδοσ", True),
        ("Answer: \U00010400", "Answer: \U00010428", False),  # of the last scripts to come
        ("Answer: *args", "Answer: args", False),
        ("Answer: -3", "Answer: 3", False),
        ("Answer: 1.5", "Answer: 15", False),
    ],
)
def test_a_vote_is_for_the_answer_and_not_for_its_words(one: str, other: str, agree: bool) -> None:
    assert (folded_conclusion(one) == folded_conclusion(other)) is agree
    alike = [likeness_of(Compare.NORMALISED, (), text) for text in (one, other)]
    assert (alike[0] == alike[1]) is agree


def test_byte_for_byte_is_byte_for_byte() -> None:
    alike = [likeness_of(Compare.EXACT, (), text) for text in ("Answer: 3", "3")]
    assert alike[0] != alike[1]


@pytest.mark.parametrize(
    ("text", "is_clear"),
    [
        ("3", True),
        ("Because.\nAnswer: 3", True),
        ("Because.\nAnswer:", False),
        ("One line.\nAnother.", False),
        ("", False),
    ],
)
def test_it_is_known_when_nobody_can_tell_the_answer(text: str, is_clear: bool) -> None:
    assert has_conclusion(text) is is_clear


@given(st.text(), st.text(alphabet=st.characters(exclude_characters=":"), min_size=1))
def test_whatever_was_said_before_changes_no_vote(reasons: str, answer: str) -> None:
    plain, argued = f"Answer: {answer}", f"{reasons}\nAnswer: {answer}"
    if answer.strip():
        assert conclusion_of(argued) == conclusion_of(plain) == answer.strip()
        assert folded_conclusion(argued) == folded_conclusion(plain)


def test_a_long_text_is_read_quickly() -> None:
    assert conclusion_of("\n" * 200_000 + "answer" * 10_000) == "answer" * 10_000
    unmarked = ("#" * 15 + "answer") * 10_000 + ":"
    assert conclusion_of(unmarked) == unmarked
