"""The answer book: worked answers to the tasks of the packaged lists, and to a few questions.

Invariant: an answer is a file that a person wrote and that passes its verification test, or there
is no answer; nothing is made up. What the prompt dictates word for word (a module constant with
literal data) is taken from the prompt, so that one book serves lists with different data.

The wrong answers are plausible mistakes: each is one edit of the worked answer, and the
verification test catches it. Of questions they are what people do say.
"""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter

LITERAL_SIZE_MAX = 16 * 1024  # characters of a constant in a prompt
LITERAL_ENDS_MAX = 64  # closing brackets at which it may end
LITERALS_MAX = 16  # places in a prompt where a constant may begin
QUESTION_SIZE_MAX = 2_000  # characters of a question that is looked up

_FOLDER = Path(__file__).with_name("answers")
_CONSTANT = re.compile(r"^([A-Z][A-Z_]*) = \[\n.*?^\]$", re.MULTILINE | re.DOTALL)
_WORD = re.compile(r"\w+(?:\.\d+)?")


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Mistake(_Form):
    """One edit that makes a right answer wrong; `fault` says how."""

    fault: str
    right: str
    wrong: str


class _Question(_Form):
    ask: tuple[str, ...]
    answer: str
    wrong: tuple[str, ...]


def knows(path: str) -> bool:
    """Whether there is a worked answer for the file of this path."""
    return path in _pages()


def paths() -> tuple[str, ...]:
    """The files for which there is a worked answer, sorted."""
    return tuple(sorted(_pages()))


def suite_of(path: str) -> str | None:
    """The suite to which a worked answer belongs, None if there is none."""
    page = _pages().get(path)
    return None if page is None else page.parent.name


def answer(path: str, prompt: str) -> str | None:
    """The content of the file, with the prompt's own constants; None if it is not in the book."""
    if not knows(path):
        return None
    return _with_constants_of(prompt, _text_of(path))


def mistakes_of(path: str) -> tuple[Mistake, ...]:
    """All plausible mistakes in the answer for this file."""
    suite = suite_of(path)
    if suite is None:
        return ()
    return _mistakes(suite)[path.removesuffix(".py")]


def wrong_answer(path: str, prompt: str, seed: int) -> str | None:
    """The answer with one mistake in it, which one the seed says; None if it is not in the book."""
    if not knows(path):
        return None
    mistakes = mistakes_of(path)
    mistake = mistakes[seed % len(mistakes)]
    return _with_constants_of(prompt, _text_of(path).replace(mistake.right, mistake.wrong))


def answer_question(question: str) -> str | None:
    """The worked answer to a question; None if the question is not in the book."""
    worked = _worked(question)
    return worked.answer if worked else None


def answer_wrongly(question: str, seed: int) -> str | None:
    """A wrong answer to a question, which one the seed says; None if it is not in the book."""
    worked = _worked(question)
    return worked.wrong[seed % len(worked.wrong)] if worked else None


def _worked(question: str) -> _Question | None:
    return None if len(question) > QUESTION_SIZE_MAX else _questions().get(normalised(question))


@lru_cache(maxsize=1)
def _pages() -> dict[str, Path]:
    """Path as a task names it -> file of the book. Names are unique across the suites."""
    return {page.name: page for page in sorted(_FOLDER.glob("*/*.py"))}


@lru_cache(maxsize=256)
def _text_of(path: str) -> str:
    return _pages()[path].read_text(encoding="utf-8")


@lru_cache(maxsize=8)
def _mistakes(suite: str) -> dict[str, tuple[Mistake, ...]]:
    form = TypeAdapter(dict[str, tuple[Mistake, ...]])
    text = (_FOLDER / "wrong" / f"{suite}.yaml").read_text(encoding="utf-8")
    return form.validate_python(yaml.safe_load(text))


@lru_cache(maxsize=1)
def _questions() -> dict[str, _Question]:
    text = (_FOLDER / "questions.yaml").read_text(encoding="utf-8")
    worked = TypeAdapter(list[_Question]).validate_python(yaml.safe_load(text))
    return {normalised(wording): each for each in worked for wording in each.ask}


def normalised(question: str) -> str:
    """Words and numbers alone, in lower case: punctuation and white space do not count."""
    return " ".join(_WORD.findall(question.lower().replace("'", "").replace("’", "")))


def _with_constants_of(prompt: str, source: str) -> str:
    return _CONSTANT.sub(lambda own: _literal_in(prompt, own[1]) or own[0], source)


def _literal_in(prompt: str, name: str) -> str | None:
    """The first `name = [...]` in the prompt that is a literal, as it stands there.

    A prompt may hold anything, so what goes into the answer is proved to be plain data first, and
    looking for it is bounded.
    """
    beginnings = re.finditer(rf"^{name} = (?=\[)", prompt, re.MULTILINE)
    for _, found in zip(range(LITERALS_MAX), beginnings, strict=False):
        start, end = found.end(), found.end()
        for _ in range(LITERAL_ENDS_MAX):
            end = prompt.find("]", end, start + LITERAL_SIZE_MAX) + 1
            if not end:
                break
            if _is_literal(prompt[start:end]):
                return prompt[found.start() : end]
    return None


def _is_literal(text: str) -> bool:
    try:
        ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return False
    return True
