"""Files, answers and notes as a prompt shows them: within bounds, and in fences that nothing in
them can close.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from operator import ne

from protocol.conclusion import conclusion_of
from protocol.effects import Answered, Proposal
from protocol.jobs import File

DETAIL_SIZE_MAX = 2_000  # characters of an explanation that travels with a failure
# Characters of a program's last words in it: how the program ended stands before them.
LAST_WORDS_SIZE_MAX = 1_500
COMMAND_SIZE_MAX = 120  # characters of a command that is named before them
SHOWN_SIZE_MAX = 192 * 1024  # bytes of earlier files in one prompt
NOTES_MAX = 5  # of the newest failures
NOTE_SIZE_MAX = 1_500
_LEFT_OUT = "...\n"  # before the last lines of a text that had more
JUDGED_SIZE_MAX = 16 * 1024  # characters of an answer that a judge or a critic is shown


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation; `role` is system, user or assistant."""

    role: str
    content: str


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


def show_proposal(proposal: Proposal) -> str:
    """An answer as a judge is shown it."""
    text = show_files(proposal.files) if proposal.files else conclusion_of(proposal.text)
    return shorten(text, JUDGED_SIZE_MAX)


def show_answered(answered: Answered) -> str:
    (shown,) = show_numbered("answer", [answered.text])
    return f"{shorten(answered.question.strip(), JUDGED_SIZE_MAX)}\n\n{shown}".strip()


def show_numbered(what: str, texts: Sequence[str]) -> list[str]:
    """Each in a fence that nothing in it can close, with its number."""
    shown = []
    for number, whole in enumerate(texts, 1):
        text = shorten(whole, JUDGED_SIZE_MAX)
        fence = "`" * max(3, _longest_run(text, "`") + 1)
        shown.append(f"{fence} {what}={number}\n{text}\n{fence}")
    return shown


def read_numbered(what: str, text: str) -> tuple[str, ...]:
    """What `show_numbered` shows."""
    found = []
    lines = iter(text.split("\n"))
    for line in lines:
        fence, mark, _ = line.partition(f" {what}=")
        if mark:
            found.append("\n".join(itertools.takewhile(partial(ne, fence), lines)))
    return tuple(found)


def show_notes(notes: Sequence[str]) -> str:
    """The newest failure notes as a list."""
    return "\n".join(f"- {shorten(note, NOTE_SIZE_MAX)}" for note in notes[-NOTES_MAX:])


def show_list(notes: Iterable[str]) -> str:
    """Each on a line of its own; of bounded number and length already."""
    return "\n".join(f"- {' '.join(note.split())}" for note in notes)


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


def last_lines(text: str, size_max: int) -> str:
    """The last lines of `text` within the limit, each of them whole, below a mark if there are more
    before them. Of a last line that is too long alone there are both ends."""
    if len(text) <= size_max:
        return text
    *before, last = text.splitlines()
    kept = [shorten(last, size_max - len(_LEFT_OUT))]
    room = size_max - len(_LEFT_OUT) - len(kept[0])
    for line in reversed(before):
        room -= len(line) + 1
        if room < 0:
            return _LEFT_OUT + "\n".join(reversed(kept))
        kept.append(line)
    return "\n".join(reversed(kept))
