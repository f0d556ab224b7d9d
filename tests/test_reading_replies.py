"""What is taken for a refusal, for a thought, for files in JSON: the pure functions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from properties import bounded

from node.agents.json_answer import files_form, groups_form, read_json_files
from node.agents.refusal import REFUSAL_SIZE_MAX, is_plain_refusal
from node.agents.reply import Piece, Reply, read_chunk, read_completion
from node.agents.settings import AgentSettings, AnswerFormat, VariableError
from node.agents.thoughts import Thoughts
from node.agents.verdict import Verdict, verdict_of
from node.prompt.judging import read_groups
from protocol.jobs import FILE_SIZE_MAX, File

WANTED = ("a.py", "b.py")


# -- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I’m sorry, but I can’t assist with that request.",
        "Sorry, I cannot assist you with this.",
        "I am unable to comply with that.",
        "I'm not able to help with this task.",
        "I can't provide that kind of content.",
        "As an AI language model, I cannot fulfill your request.",
        "I must decline to write this.",
        "I won't help with that.",
        "That would be against my guidelines.",
        "This violates our content policy, so no.",
    ],
)
def test_a_plain_refusal_is_one(text: str) -> None:
    assert is_plain_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "42",
        "I can't see the file base.py: please show it to me.",
        "I cannot create files on your computer, so here is the code: x = 1",
        "I'm sorry for the confusion. The answer is 42.",
        "Sorry, I have forgotten the path. Which one is it?",
        "The server cannot help clients that speak HTTP/0.9.",
        "Three of five can help with an election.",
        "I can't help with that.\n```python path=a.py\nx\n```",
        "x" * REFUSAL_SIZE_MAX + "I can't help with that.",
    ],
)
def test_an_excuse_a_question_or_an_answer_is_none(text: str) -> None:
    assert not is_plain_refusal(text)


@pytest.mark.parametrize(
    ("reply", "wanted", "missing", "verdict"),
    [
        (Reply("x", "stop"), WANTED, (), Verdict.GOOD),
        (Reply("x", "length", "no"), WANTED, (), Verdict.GOOD),
        (Reply("x", "stop", "no"), WANTED, WANTED, Verdict.REFUSED),
        (Reply("x", "content_filter: SAFETY"), WANTED, WANTED, Verdict.REFUSED),
        (Reply("", "length"), WANTED, WANTED, Verdict.CUT_OFF),
        (Reply("", "stop"), WANTED, WANTED, Verdict.EMPTY),
        (Reply("\n", ""), (), (), Verdict.EMPTY),
        (Reply("", "tool_calls", "", ("f",)), WANTED, WANTED, Verdict.UNUSABLE),
        (Reply("Well.", "stop"), WANTED, WANTED, Verdict.UNUSABLE),
        (Reply("Well.", "stop"), (), (), Verdict.GOOD),
        (Reply("I can't help with that.", "stop"), (), (), Verdict.REFUSED),
    ],
)
def test_answers_are_told_apart(
    reply: Reply, wanted: tuple[str, ...], missing: tuple[str, ...], verdict: Verdict
) -> None:
    assert verdict_of(reply, wanted, missing, found=False) is verdict


# -- shapes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "nonsense",
    [{}, [], {"choices": []}, {"choices": "x"}, {"choices": [None]}, {"choices": [{"delta": 1}]}],
)
def test_a_chunk_of_any_shape_says_nothing_wrong(nonsense: object) -> None:
    assert read_chunk(nonsense) == Piece()


@pytest.mark.parametrize("nonsense", [{}, {"choices": []}, {"choices": [{"message": None}]}])
def test_a_completion_without_a_message_is_none(nonsense: object) -> None:
    with pytest.raises(ValueError, match="without any choice"):
        read_completion(nonsense)


# -- thoughts ------------------------------------------------------------------------------------


def without_thoughts(text: str, sizes: list[int] | None = None) -> str:
    thoughts = Thoughts()
    pieces = []
    for size in sizes or []:
        pieces.append(thoughts.feed(text[:size]))
        text = text[size:]
    return "".join((*pieces, thoughts.feed(text), thoughts.close()))


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("<think>\nHm.\n</think>\n42", "\n42"),
        ("\n<thinking>a </think> b</thinking>42", "42"),
        ("<think>and so on", ""),
        ("<thin", "<thin"),
        ("<thicket>", "<thicket>"),
        ("Well, <think>no</think>", "Well, <think>no</think>"),
        ("", ""),
    ],
)
def test_a_thought_at_the_beginning_is_left_out(text: str, rest: str) -> None:
    assert without_thoughts(text) == rest


@given(
    st.lists(st.sampled_from(["<", "think", "ing", ">", "</", " ", "x", "\n"]), max_size=20),
    st.lists(st.integers(0, 6), max_size=12),
)
@bounded
def test_what_is_left_does_not_depend_on_the_pieces(words: list[str], sizes: list[int]) -> None:
    text = "".join(words)
    assert without_thoughts(text, sizes) == without_thoughts(text)


# -- JSON ----------------------------------------------------------------------------------------


def files_in(text: str) -> dict[str, str] | None:
    answer = read_json_files(text, WANTED)
    return answer and {file.path: file.content.decode() for file in answer.files}


LISTED = json.dumps(
    {"files": [{"path": "a.py", "content": "a\n"}, {"path": "b.py", "content": "b"}]}
)


@pytest.mark.parametrize(
    "text",
    [
        LISTED,
        json.dumps(json.loads(LISTED), indent=2),
        json.dumps(json.loads(LISTED)["files"]),
        json.dumps({"files": {"a.py": "a", "./b.py": "b\r\n"}}),
        json.dumps({"a.py": "a", "b.py": "b"}),
        f"Here you are: {LISTED} Anything else?",
        f"{{not this}}\n```json\n{LISTED}\n```\n",
        LISTED.replace("a\\n", "a\n"),
    ],
)
def test_files_in_json_of_any_shape_are_read(text: str) -> None:
    assert files_in(text) == {"a.py": "a\n", "b.py": "b\n"}


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[1, {}]", "[" * 9_000, '{"files": 3}', '{"files": [{"path": "a.py"}]}',
     '{"files": [{"path": "c.py", "content": "c"}]}', '{"files": {"a.py": 3}}'],
)  # fmt: skip
def test_json_that_names_no_wanted_file_is_none(text: str) -> None:
    assert files_in(text) is None


@given(st.integers(0, len(LISTED)))
@bounded
def test_of_json_that_was_cut_off_whole_files_are_read(cut: int) -> None:
    first_end, second_end = LISTED.index("}") + 1, LISTED.rindex("}]") + 1
    whole = [("a.py", "a\n", first_end), ("b.py", "b\n", second_end)]
    expected = {path: content for path, content, end in whole if cut >= end}
    assert (files_in(LISTED[:cut]) or {}) == expected


def test_the_rules_for_files_hold_in_json_too() -> None:
    files = [
        {"path": "a.py", "content": " \n"},
        {"path": "b.py", "content": "x" * FILE_SIZE_MAX},
        {"path": "../c.py", "content": "c"},
    ]
    answer = read_json_files(json.dumps({"files": files}), WANTED)
    assert answer is not None
    assert answer.files == ()
    assert answer.refused == ("../c.py",)
    assert answer.faults[0] == "a.py is empty"
    assert f"the limit for one file is {FILE_SIZE_MAX}" in answer.faults[1]


def test_the_last_version_of_a_file_in_json_counts() -> None:
    files = [{"path": "a.py", "content": each} for each in ("first", "second")]
    answer = read_json_files(json.dumps(files), WANTED)
    assert answer is not None
    assert answer.files == (File("a.py", b"second\n"),)


@given(st.text(alphabet='{}[]",: \\nafilespathcontent.y', max_size=200))
@bounded
def test_any_text_can_be_looked_through_for_json(text: str) -> None:
    answer = read_json_files(text, WANTED)
    assert answer is None or {file.path for file in answer.files} <= set(WANTED)


def test_forms_are_strict() -> None:
    for form in (files_form(WANTED), groups_form()):
        assert form["type"] == "json_schema"
        inner = form["json_schema"]
        assert isinstance(inner, dict)
        assert inner["strict"] is True
        assert inner["schema"]["additionalProperties"] is False


@pytest.mark.parametrize(
    ("said", "groups"),
    [
        ('{"groups": ["A", "B", "A"]}', (0, 1, 0)),
        ('Sure: {"groups": ["x", "x", "y"]}', (0, 0, 2)),
        ('{"groups": ["A"]}', ()),
        ('{"groups": 3}', ()),
        ('{"groups": [', ()),
        ("{}", ()),
        ("1: A\n2: {B}\n3: A", (0, 1, 0)),
    ],
)
def test_a_judge_s_json_becomes_groups(said: str, groups: tuple[int, ...]) -> None:
    assert read_groups(said, 3) == groups


# -- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "answer_format"),
    [("", AnswerFormat.AUTO), (" JSON ", AnswerFormat.JSON), ("fenced", AnswerFormat.FENCED)],
)
def test_the_format_is_read_from_the_environment(said: str, answer_format: AnswerFormat) -> None:
    environment = {"QUORATE_ANSWER_FORMAT": said}
    assert AgentSettings.from_environment(environment, Path()).answer_format is answer_format


def test_a_format_that_is_none_is_named() -> None:
    with pytest.raises(
        VariableError,
        match=r"QUORATE_ANSWER_FORMAT='xml' is no format .*: use one of fenced, json, auto",
    ):
        AgentSettings.from_environment({"QUORATE_ANSWER_FORMAT": "xml"}, Path())
