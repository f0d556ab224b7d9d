"""What a model is asked, and how to read such a request back.

Invariant: `read_request` finds in any prompt of `build_prompt` exactly the files, or the question
and the drafts of its answer, that the assignment holds: the section that names them comes last, so
nothing in the task's own words or in the files shown can stand in for it. Of a prompt of
`judge_prompt` it finds the answers, whatever stands in them.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from operator import ne

from protocol.conclusion import conclusion_of
from protocol.effects import Answered, Assignment, Proposal, Purpose
from protocol.jobs import ANSWER_PATH, File

DETAIL_SIZE_MAX = 2_000  # characters of an explanation that travels with a failure
SHOWN_SIZE_MAX = 192 * 1024  # bytes of earlier files in one prompt
NOTES_MAX = 5  # of the newest failures
NOTE_SIZE_MAX = 1_500
REPAIR_ANSWER_SIZE_MAX = 64 * 1024  # characters of a failed answer shown back to its author
ANCHOR_LINES_MAX = 8  # lines that a model is told to repeat when it goes on

WRITE_HEADING = "# Files to write"
JUDGED_SIZE_MAX = 16 * 1024  # characters of an answer that a judge or a critic is shown
_MARKS = r"[^\w\n]{0,16}"  # without the bounds, a judge's long run of them costs its square
_GROUP = re.compile(  # "2: B", and what models make of it
    rf"^{_MARKS}(?:answer{_MARKS})?(\d{{1,3}}){_MARKS}[:.)=-]{_MARKS}(?:group{_MARKS})?([a-z])\b",
    re.MULTILINE | re.IGNORECASE,
)
ANSWERS_HEADING = "# The answers"
DRAFTS_HEADING = "# Drafts of the answer"
CONTINUE_HEADING = "# Your answer was cut off at the length limit"
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

_JUDGING = """\
You compare answers that several people gave to one question without knowing of each other. Two
answers agree if whoever asked could take either for the other: wording, order and format do not
count, facts, numbers and conclusions do.
"""

_SYSTEM_JUDGE = f"""\
{_JUDGING}
For every answer write one line, its number, a colon, and a letter, the same letter for answers
that agree, like this:

1: A
2: B
3: A

Write nothing else."""

_SYSTEM_JUDGE_JSON = f"""\
{_JUDGING}
Answer with one JSON object that holds a letter for every answer, in their order, the same letter
for answers that agree, and nothing else:

{{"groups": ["A", "B", "A"]}}"""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation; `role` is system, user or assistant."""

    role: str
    content: str


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
        f"# What was asked and answered before\n\n{_show_answered(each)}"
        for each in assignment.answered
        if each.question != task.prompt or not assignment.drafts
    ]
    if not merges:
        sections += _partial_shown(assignment.partial)
    if assignment.lore:
        sections.append(f"# What others have found out\n\n{_list_of(assignment.lore)}")
    if assignment.notes:
        sections.append(f"# Why earlier attempts failed\n\n{show_notes(assignment.notes)}")
    if task.writes:
        listed = "\n".join(f"- {path}" for path in task.writes)
        sections.append(f"{WRITE_HEADING}\n\n{listed}")
    else:
        # Each heading must occur once before the question: see `read_request`.
        sections = [text.replace(DRAFTS_HEADING, "# Drafts") for text in sections]
        if assignment.drafts:
            sections += [DRAFTS_HEADING, *_show_numbered("draft", assignment.drafts)]
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
        (fenced,) = _show_numbered("broken-off", said)
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


def judge_prompt(assignment: Assignment, as_json: bool = False) -> tuple[Message, ...]:
    """The conversation in which a model says which answers agree, in lines or `as_json`."""
    answers = [show_proposal(proposal) for proposal in assignment.proposals]
    question = assignment.task.prompt.strip().replace(ANSWERS_HEADING, "# Answers")
    shown = _show_numbered("answer", answers)
    sections = [f"# What was asked\n\n{question}", ANSWERS_HEADING, *shown]
    system = _SYSTEM_JUDGE_JSON if as_json else _SYSTEM_JUDGE
    return (Message("system", system), Message("user", "\n\n".join(sections) + "\n"))


def show_proposal(proposal: Proposal) -> str:
    """An answer as a judge is shown it."""
    text = show_files(proposal.files) if proposal.files else conclusion_of(proposal.text)
    return shorten(text, JUDGED_SIZE_MAX)


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


def repair_prompt(
    answer: str, faults: Sequence[str], missing: Sequence[str], as_json: bool = False
) -> tuple[Message, ...]:
    """The turn that shows a model its unusable answer and says what is still wanted."""
    complaint = "\n".join(f"- {fault}" for fault in faults)
    if missing:
        form = "each in a fenced block that names its path"
        if as_json:
            form = 'as {"files": [{"path": ..., "content": ...}]}'
        wish = f"Write these now, {form}:\n" + "\n".join(f"- {path}" for path in missing)
    else:
        wish = "Answer the question in plain text."
    return (
        Message("assistant", shorten(answer, REPAIR_ANSWER_SIZE_MAX) or "(nothing)"),
        Message("user", f"That answer cannot be used:\n{complaint}\n\n{wish}\n"),
    )


def mark_prompt(answer: str) -> tuple[Message, ...]:
    """The turn that asks which part of an answer is the answer."""
    wish = (
        "Which is your final answer? Write one line that begins with `Answer:`, and nothing else."
    )
    return (
        Message("assistant", shorten(answer, REPAIR_ANSWER_SIZE_MAX)),
        Message("user", f"{wish}\n"),
    )


def keep_lines(answer: str) -> str:
    """What of an answer that was cut off can be gone on with: its lines up to the last that is
    whole and not blank; empty, if there is none."""
    whole = answer[: answer.rfind("\n") + 1].rstrip()
    return answer[: answer.index("\n", len(whole)) + 1] if whole else ""


def anchor_of(kept: str) -> tuple[str, ...]:
    """The last lines of `kept`, as few as are needed for them to occur in it only once."""
    lines = kept.split("\n")[:-1]
    plain = [line.strip() for line in lines]
    anchor: tuple[str, ...] = ()
    for size in range(1, min(ANCHOR_LINES_MAX, len(lines)) + 1):
        anchor = tuple(lines[-size:])
        tail = plain[-size:]
        ends = (at for at in range(size, len(plain)) if plain[at - 1] == tail[-1])
        if not any(plain[at - size : at] == tail for at in ends):
            break
    return anchor


def continue_prompt(kept: str) -> tuple[Message, ...]:
    """The turn that asks a model to go on where its answer was cut off, after `kept`."""
    if not kept:
        said = "Nothing of it came through. Answer again, without thinking aloud, and briefly."
        return (
            Message("assistant", "(nothing)"),
            Message("user", f"{CONTINUE_HEADING}\n\n{said}\n"),
        )
    anchor = "\n".join(anchor_of(kept))
    wish = (
        "This is the end of what came through:\n\n"
        f"{anchor}\n\n"
        "Go on from there: repeat exactly these last lines, and then write the rest. Do not begin "
        "again, say nothing before, and open no fence that is open already."
    )
    return (
        Message("assistant", shorten(kept, REPAIR_ANSWER_SIZE_MAX)),
        Message("user", f"{CONTINUE_HEADING}\n\n{wish}\n"),
    )


def read_kept(messages: Sequence[Message]) -> str:
    """What a model has written already of the answer that these messages ask it to go on with."""
    if len(messages) < 2 or not messages[-1].content.startswith(CONTINUE_HEADING):
        return ""
    return messages[-2].content if messages[-2].role == "assistant" else ""


def program_prompt(assignment: Assignment) -> str:
    """What a program is given: the task's own words, drafts of its answer to criticise, what
    others found out, and why earlier attempts failed."""
    sections = [assignment.task.prompt]
    if assignment.drafts:
        shown = _show_numbered("draft", assignment.drafts)
        sections = [_CRITICISE, DRAFTS_HEADING, *shown, "# Question", *sections]
    if assignment.lore:
        sections.append(f"# What others have found out\n\n{_list_of(assignment.lore)}\n")
    if assignment.notes:
        sections.append(f"# Why earlier attempts failed\n\n{show_notes(assignment.notes)}\n")
    return "\n\n".join(sections)


def _list_of(notes: Iterable[str]) -> str:
    """Each on a line of its own; of bounded number and length already."""
    return "\n".join(f"- {' '.join(note.split())}" for note in notes)


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
        if system in (_SYSTEM_JUDGE, _SYSTEM_JUDGE_JSON):
            shown = last.partition(f"{ANSWERS_HEADING}\n\n")[2]
            return Request((), "", _read_numbered("answer", shown))
        if system in (_SYSTEM_FILES, _SYSTEM_FILES_JSON):
            _, heading, tail = last.rpartition(f"{WRITE_HEADING}\n\n")
            if heading:
                listed = [line[2:] for line in tail.splitlines() if line.startswith("- ")]
                return Request(tuple(listed), "")
        elif system in (_SYSTEM_QUESTION, _SYSTEM_VOTE, _SYSTEM_CRITIQUE):
            before, heading, tail = last.partition(f"{QUESTION_HEADING}\n\n")
            if heading:
                drafts = _read_numbered("draft", before.partition(f"{DRAFTS_HEADING}\n\n")[2])
                return Request((), tail.strip(), (), drafts, system != _SYSTEM_QUESTION)
    return Request((), last.strip())


def _show_numbered(what: str, texts: Sequence[str]) -> list[str]:
    """Each in a fence that nothing in it can close, with its number."""
    shown = []
    for number, whole in enumerate(texts, 1):
        text = shorten(whole, JUDGED_SIZE_MAX)
        fence = "`" * max(3, _longest_run(text, "`") + 1)
        shown.append(f"{fence} {what}={number}\n{text}\n{fence}")
    return shown


def _read_numbered(what: str, text: str) -> tuple[str, ...]:
    """What `_show_numbered` shows."""
    found = []
    lines = iter(text.split("\n"))
    for line in lines:
        fence, mark, _ = line.partition(f" {what}=")
        if mark:
            found.append("\n".join(itertools.takewhile(partial(ne, fence), lines)))
    return tuple(found)


def _show_answered(answered: Answered) -> str:
    (shown,) = _show_numbered("answer", [answered.text])
    return f"{shorten(answered.question.strip(), JUDGED_SIZE_MAX)}\n\n{shown}".strip()


def show_notes(notes: Sequence[str]) -> str:
    """The newest failure notes as a list."""
    return "\n".join(f"- {shorten(note, NOTE_SIZE_MAX)}" for note in notes[-NOTES_MAX:])


def show_files(files: Iterable[File]) -> str:
    """The files in fenced blocks, within the size limit; those beyond it only by name."""
    shown = []
    for file, text in shown_of(files):
        if text is None:
            what = "not text" if _text_of(file) is None else "too long to show"
            shown.append(f"{file.path}: {len(file.content)} bytes, {what}")
            continue
        fence = "`" * max(3, _longest_run(text, "`") + 1)
        newline = "" if text.endswith("\n") or not text else "\n"
        shown.append(f"{fence} path={file.path}\n{text}{newline}{fence}")
    return "\n\n".join(shown)


def shown_of(files: Iterable[File]) -> Iterator[tuple[File, str | None]]:
    """Each of the files, with its text if that is shown: if it is one, and there is room for it."""
    left = SHOWN_SIZE_MAX
    for file in files:
        text = _text_of(file) if len(file.content) <= left else None
        left -= len(file.content) if text is not None else 0
        yield file, text


def _text_of(file: File) -> str | None:
    try:
        return file.content.decode()
    except UnicodeDecodeError:
        return None


def _longest_run(text: str, letter: str) -> int:
    longest = run = 0
    for at in text:
        run = run + 1 if at == letter else 0
        longest = max(longest, run)
    return longest


def shorten(text: str, size_max: int = DETAIL_SIZE_MAX) -> str:
    """`text` within the limit, by leaving out its middle: both ends of an error tell something."""
    if len(text) <= size_max:
        return text
    half = (size_max - 5) // 2
    return f"{text[:half]} ... {text[-half:]}"
