"""A model is asked which answers agree."""

from __future__ import annotations

import json
import re

from node.prompt.shown import Message, show_numbered, show_proposal
from protocol.effects import Assignment

_MARKS = r"[^\w\n]{0,16}"  # without the bounds, a judge's long run of them costs its square
_GROUP = re.compile(  # "2: B", and what models make of it
    rf"^{_MARKS}(?:answer{_MARKS})?(\d{{1,3}}){_MARKS}[:.)=-]{_MARKS}(?:group{_MARKS})?([a-z])\b",
    re.MULTILINE | re.IGNORECASE,
)
ANSWERS_HEADING = "# The answers"

_JUDGING = """\
You compare answers that several people gave to one question without knowing of each other. Two
answers agree if whoever asked could take either for the other: wording, order and format do not
count, facts, numbers and conclusions do.
"""

SYSTEM_JUDGE = f"""\
{_JUDGING}
For every answer write one line, its number, a colon, and a letter, the same letter for answers
that agree, like this:

1: A
2: B
3: A

Write nothing else."""

SYSTEM_JUDGE_JSON = f"""\
{_JUDGING}
Answer with one JSON object that holds a letter for every answer, in their order, the same letter
for answers that agree, and nothing else:

{{"groups": ["A", "B", "A"]}}"""


def judge_prompt(assignment: Assignment, as_json: bool = False) -> tuple[Message, ...]:
    """The conversation in which a model says which answers agree, in lines or `as_json`."""
    answers = [show_proposal(proposal) for proposal in assignment.proposals]
    question = assignment.task.prompt.strip().replace(ANSWERS_HEADING, "# Answers")
    shown = show_numbered("answer", answers)
    sections = [f"# What was asked\n\n{question}", ANSWERS_HEADING, *shown]
    system = SYSTEM_JUDGE_JSON if as_json else SYSTEM_JUDGE
    return (Message("system", system), Message("user", "\n\n".join(sections) + "\n"))


def read_groups(text: str, answers: int) -> tuple[int, ...]:
    """A group's number for each of so many answers, by a judge's words; none if any is missing."""
    try:
        listed = json.loads(text[text.index("{") : text.rindex("}") + 1])["groups"]
        if isinstance(listed, list):
            text = "\n".join(f"{number}: {letter}" for number, letter in enumerate(listed, 1))
    except (ValueError, KeyError, RecursionError):
        pass  # lines, then
    groups: dict[int, str] = {}
    for number, letter in _GROUP.findall(text):
        groups.setdefault(int(number), letter.upper())
    letters = [groups.get(number, "") for number in range(1, answers + 1)]
    return () if "" in letters else tuple(letters.index(letter) for letter in letters)
