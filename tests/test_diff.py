"""The story of a file's versions, as `quorate diff` tells it."""

from __future__ import annotations

from typing import Any

import pytest

from node.cli.diff_verb import story


def version(task: str, content: str, *saw: str) -> dict[str, Any]:
    return {"task": task, "name": f"n-{task}", "index": 3, "saw": list(saw), "content": content}


def view(**more: object) -> dict[str, Any]:
    plain = {"path": "f", "base": "one\ntwo\n", "accepted": [], "merges": [], "partials": []}
    return {**plain, "contents": {}, "sizes": {}, "merge_program": "", **more}


def merge(content: str, fault: str = "", by_agent: bool = False) -> dict[str, Any]:
    who = {"name": "n3", "index": 9, "by_agent": by_agent}
    word: dict[str, Any] = {"reviewer": "", "waits": False, "refuted": []}
    return {"tasks": ["a", "b"], "content": content, "fault": fault, **who, **word}


def test_each_version_is_shown_against_what_it_was_built_on() -> None:
    accepted = [
        version("a", "ONE\ntwo\n"),
        version("b", "one\nTWO\n"),
        version("c", "ONE\nTWO\n3\n", "a", "b"),
    ]
    whole = {"f": "ONE\nTWO\n3\n"}
    merges, sizes = [merge("ONE\nTWO\n")], {"f": 10}
    lines = list(story(view(accepted=accepted, merges=merges, contents=whole, sizes=sizes)))
    assert lines[0] == "a by n-a, accepted at 3, built on what the job brought"
    assert "    -one" in lines
    at = lines.index("c by n-c, accepted at 3, built on a and b")
    changes = [line for line in lines[at:] if line.startswith(("    +", "    -"))]
    assert changes == ["    --- f before", "    +++ f of c", "    +3"]
    assert lines[-2:] == ["a and b merged by n3 without an agent, at 9", "f is now 10 bytes"]


def test_a_merge_by_the_jobs_own_program_is_no_agents() -> None:
    merged = [merge("xy", by_agent=True)]
    whole = {"contents": {"f": "xy"}, "sizes": {"f": 2}}
    lines = list(story(view(merges=merged, merge_program="sh merge.sh", **whole)))
    assert "a and b merged by n3 with the job's 'merge' program, at 9" in lines
    assert "with an agent's help" in "\n".join(story(view(merges=merged, **whole)))


def test_what_was_not_merged_says_why_and_where_it_is() -> None:
    accepted = [version("a", "x"), version("b", "y")]
    both = {"f.b": "y", "f.a": "x"}
    lines = list(story(view(accepted=accepted, merges=[merge("", "no")], contents=both)))
    assert lines[-2:] == ["a and b were not merged: no", "f stands as f.a and f.b"]


def test_who_has_checked_a_merge_is_told_and_what_was_wrong_with_those_before() -> None:
    accepted = [version("a", "x"), version("b", "y")]
    wrong = {"name": "n1", "reviewer": "n2", "fault": "a test fails"}
    whole = {"contents": {"f": "xy"}, "sizes": {"f": 2}}
    for said, words in (
        ({"reviewer": "n2"}, ", checked by n2"),
        ({"waits": True}, ", which another node has yet to check"),
    ):
        merges = [{**merge("xy"), **said, "refuted": [wrong]}]
        lines = list(story(view(accepted=accepted, merges=merges, **whole)))
        assert lines[-3:-1] == [
            "a and b were merged wrongly by n1; n2 found: a test fails",
            f"a and b merged by n3 without an agent, at 9{words}",
        ]


def test_unfinished_versions_tell_who_has_seen_them() -> None:
    parts = [
        {
            "task": "a",
            "slot": 0,
            "name": name,
            "seen_by": [name, "n3"],
            "size": 4,
            "content": content,
        }
        for name, content in (("n1", "one\n"), ("n2", "two\n"))
    ]
    lines = list(story(view(partials=parts)))
    assert lines[:3] == [
        "2 unfinished versions were written without knowledge of each other:",
        "  a by n1, 4 bytes, seen by n1, n3",
        "  a by n2, 4 bytes, seen by n2, n3",
    ]
    assert lines[-2:] == ["    -one", "    +two"]
    assert list(story(view(partials=parts[:1]))) == [
        "1 unfinished version was written:",
        "  a by n1, 4 bytes, seen by n1, n3",
    ]


@pytest.mark.parametrize("content", ["\ufffdPNG", "\0\n"])
def test_what_is_no_text_is_called_binary_and_has_its_own_size(content: str) -> None:
    """The door shows three bytes of U+FFFD for each that is no UTF-8."""
    now = {"contents": {"f": content}, "sizes": {"f": 4}}
    assert list(story(view(accepted=[version("a", content)], **now))) == [
        "a by n-a, accepted at 3, built on what the job brought",
        "    f of a is binary, or was: no lines to compare",
        "f is now 4 bytes",
    ]


def test_what_a_node_has_left_out_is_called_so() -> None:
    accepted = [version("a", "x"), version("b", "y", "a"), version("c", "z", "a", "b")]
    accepted[1]["content"] = None
    merges = [{**merge(""), "content": None}]
    now = {"contents": {"f": None}, "sizes": {"f": 9}}
    lines = list(story(view(accepted=accepted, merges=merges, **now)))
    left_out = "    left out: the versions are too large together"
    assert lines[-6:] == [
        "b by n-b, accepted at 3, built on a",
        left_out,
        "c by n-c, accepted at 3, built on a and b",
        left_out,  # what the two became
        "a and b merged by n3 without an agent, at 9",
        "f is now 9 bytes",
    ]
