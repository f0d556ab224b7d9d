"""The turn that opens an attempt, and how to read it.

Invariant: `read_request` finds in any prompt of `build_prompt` exactly the files, or the question
and the drafts of its answer, that the assignment holds: the section that names them comes last, so
nothing in the task's own words or in the files shown can stand in for it. Of a prompt of
`judge_prompt` it finds the answers, whatever stands in them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from node.prompt.judging import ANSWERS_HEADING, SYSTEM_JUDGE, SYSTEM_JUDGE_JSON
from node.prompt.shown import (
    Message,
    read_numbered,
    show_answered,
    show_files,
    show_list,
    show_notes,
    show_numbered,
)
from protocol.effects import Assignment, Purpose
from protocol.jobs import ANSWER_PATH, File

WRITE_HEADING = "# Files to write"
DRAFTS_HEADING = "# Drafts of the answer"
QUESTION_HEADING = "# Question (answer in plain text)"

_SYSTEM_FILES = """\
You are one engineer of a team. Each of you has one task; others build on the files you write.
Answer with every file you are asked for, whole, each in a fenced block whose opening line names
its path, like this:

```python path=folder/name.py
...
```

No other files, no usage examples in fences, nothing left out. If a file holds fences itself, use a
longer fence around it. What you have found out that those who build on your files must know, and
do not see in them, goes into a line of its own outside of the fences that begins with FACT:."""

_SYSTEM_FILES_JSON = """\
You are one engineer of a team. Each of you has one task; others build on the files you write.
Answer with one JSON object that holds every file you are asked for, whole, and nothing else:

{"files": [{"path": "folder/name.py", "content": "..."}]}"""

_SYSTEM_QUESTION = """\
You are one member of a team that answers questions independently and then compares answers.
Answer the question at the end in plain text, briefly and exactly."""

MARK_REQUEST = """\
End with a line that begins with `Answer:` and goes on with your final answer, in as few words as it
takes. Only what stands there is compared with the answers of the others."""

_SYSTEM_VOTE = f"""\
You are one member of a team that answers questions independently and then compares answers.
Answer the question at the end in plain text: first your reasons, as far as it needs any.
{MARK_REQUEST}"""

_CRITICISE = """\
Below are drafts of the answer, by others who did not know of each other, and then the question.
Say of each draft, by its number and in a sentence or two, what is wrong with it, or that nothing
is; check what it claims, for many may be wrong in the same way. Then answer it yourself."""

_SYSTEM_CRITIQUE = f"""\
You are one member of a team that answers questions and compares answers.
{_CRITICISE}
{MARK_REQUEST}"""


@dataclass(frozen=True, slots=True)
class Request:
    """What a prompt asks for: `paths` to write, or `answers` to compare, or else a `question`, with
    `drafts` to criticise if there are any. `is_marked`: the answer shall stand in a marked line."""

    paths: tuple[str, ...]
    question: str
    answers: tuple[str, ...] = ()
    drafts: tuple[str, ...] = ()
    is_marked: bool = False


def is_marked(assignment: Assignment) -> bool:
    """Whether the answer shall stand in a line of its own: where answers are compared, or come
    after what is said of drafts."""
    task = assignment.task
    return not task.writes and (task.quorum.of > 1 or bool(assignment.drafts))


def build_prompt(assignment: Assignment, as_json: bool = False) -> tuple[Message, ...]:
    """The conversation that opens an attempt; files are asked for in fences, or `as_json`."""
    task = assignment.task
    sections = []
    merges = assignment.purpose is Purpose.MERGE
    if assignment.description:
        sections.append(f"# The job\n\n{assignment.description.strip()}")
    if merges:
        sections += _versions_shown(assignment)
    elif task.writes:
        sections.append(f"# Your task: {task.title or task.id}\n\n{task.prompt.strip()}")
    if assignment.inputs:
        sections.append(
            "# Files that exist already (finished by others, do not repeat them)\n\n"
            + show_files(assignment.inputs)
        )
    sections += [
        f"# What was asked and answered before\n\n{show_answered(each)}"
        for each in assignment.answered
        if each.question != task.prompt or not assignment.drafts
    ]
    if not merges:
        sections += _partial_shown(assignment.partial)
    if assignment.lore:
        sections.append(f"# What others have found out\n\n{show_list(assignment.lore)}")
    if assignment.notes:
        sections.append(f"# Why earlier attempts failed\n\n{show_notes(assignment.notes)}")
    if task.writes:
        listed = "\n".join(f"- {path}" for path in task.writes)
        sections.append(f"{WRITE_HEADING}\n\n{listed}")
    else:
        # Each heading must occur once before the question: see `read_request`.
        sections = [text.replace(DRAFTS_HEADING, "# Drafts") for text in sections]
        if assignment.drafts:
            sections += [DRAFTS_HEADING, *show_numbered("draft", assignment.drafts)]
        sections = [text.replace(QUESTION_HEADING, "# Question") for text in sections]
        sections.append(f"{QUESTION_HEADING}\n\n{task.prompt.strip()}")
    return (
        Message("system", _system_of(assignment, as_json)),
        Message("user", "\n\n".join(sections) + "\n"),
    )


def _system_of(assignment: Assignment, as_json: bool) -> str:
    if assignment.task.writes:
        return _SYSTEM_FILES_JSON if as_json else _SYSTEM_FILES
    if assignment.drafts:
        return _SYSTEM_CRITIQUE
    return _SYSTEM_VOTE if is_marked(assignment) else _SYSTEM_QUESTION


def _partial_shown(partial: Sequence[File]) -> list[str]:
    """What earlier attempts left: files, and what a model had said when it broke off."""
    files = [file for file in partial if file.path != ANSWER_PATH]
    said = [file.content.decode(errors="replace") for file in partial if file.path == ANSWER_PATH]
    shown = []
    if files:
        shown.append(
            "# What an earlier attempt at this task left (unchecked, maybe unfinished)\n\n"
            + show_files(files)
        )
    if said:
        (fenced,) = show_numbered("broken-off", said)
        shown.append(
            f"# How far an earlier answer came before it broke off (unchecked)\n\n{fenced}"
        )
    return shown


def _versions_shown(assignment: Assignment) -> list[str]:
    """What is to be merged: the file before, and every version with what it was made for."""
    path = assignment.task.writes[0]
    shown = [
        f"# Your task: merge {path}\n\nSeveral of you changed {path} at the same time, without "
        "knowing of each other, and the changes touch each other. Write it once more, so that "
        "everything that each of them was to do is done."
    ]
    if assignment.partial:
        shown.append(f"# As it was before\n\n{show_files(assignment.partial)}")
    for number, proposal in enumerate(assignment.proposals, 1):
        purpose, files = proposal.text.strip(), show_files(proposal.files)
        shown.append(f"# Version {number}\n\nIt was written for this task:\n\n{purpose}\n\n{files}")
    return shown


def program_prompt(assignment: Assignment) -> str:
    """What a program is given: the task's own words, drafts of its answer to criticise, what
    others found out, and why earlier attempts failed."""
    sections = [assignment.task.prompt]
    if assignment.drafts:
        shown = show_numbered("draft", assignment.drafts)
        sections = [_CRITICISE, DRAFTS_HEADING, *shown, "# Question", *sections]
    if assignment.lore:
        sections.append(f"# What others have found out\n\n{show_list(assignment.lore)}\n")
    if assignment.notes:
        sections.append(f"# Why earlier attempts failed\n\n{show_notes(assignment.notes)}\n")
    return "\n\n".join(sections)


def read_request(messages: Iterable[Message]) -> Request:
    """What these messages ask for. Words from elsewhere are one question: the last user turn."""
    last = ""
    system = ""
    for message in messages:
        if message.role == "system":
            system = message.content
        if message.role != "user":
            continue
        last = message.content
        # The system turn tells which kind it is: a question may well quote the other heading.
        if system in (SYSTEM_JUDGE, SYSTEM_JUDGE_JSON):
            shown = last.partition(f"{ANSWERS_HEADING}\n\n")[2]
            return Request((), "", read_numbered("answer", shown))
        if system in (_SYSTEM_FILES, _SYSTEM_FILES_JSON):
            _, heading, tail = last.rpartition(f"{WRITE_HEADING}\n\n")
            if heading:
                listed = [line[2:] for line in tail.splitlines() if line.startswith("- ")]
                return Request(tuple(listed), "")
        elif system in (_SYSTEM_QUESTION, _SYSTEM_VOTE, _SYSTEM_CRITIQUE):
            before, heading, tail = last.partition(f"{QUESTION_HEADING}\n\n")
            if heading:
                drafts = read_numbered("draft", before.partition(f"{DRAFTS_HEADING}\n\n")[2])
                return Request((), tail.strip(), (), drafts, system != _SYSTEM_QUESTION)
    return Request((), last.strip())
