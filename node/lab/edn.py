"""EDN as far as Jepsen writes it: the elements of a text, each with the line that it begins in.

Invariant: what comes out is made of dict, tuple, str, Word, int, finite float, bool and None, not
deeper than DEPTH_MAX. Vectors and lists are tuples; keywords, symbols and characters are Words; a
set is a dict from numbers; tags are read over. Anything else is an `EdnError`.

This isn't the whole of EDN. The library for it that is kept up, edn-format, brings three more
along, two of them for dates, and does not tell lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from math import isfinite
from typing import Any

from protocol.jobs import shown

DEPTH_MAX = 40  # an operation needs four levels
ATOM_LENGTH_MAX = 1000  # of a number, a keyword or a symbol
_CLOSERS = {"[": "]", "(": ")", "{": "}", "#{": "}"}
_SKIPPED = r"(?:[\s,]++|;[^\n]*+)*+"
_TOKEN = re.compile(
    _SKIPPED
    + r"""(?:(?P<open>\#?\{|[\[(])
         |(?P<close>[\])}])
         |(?P<string>"(?:[^"\\]++|\\.)*+")
         |(?P<atom>(?:\\.|[^\s,;"()\[\]{}])[^\s,;"()\[\]{}]*+)
         |(?P<bad>.))""",
    re.DOTALL | re.VERBOSE,
)
_INTEGER = re.compile(r"[+-]?[0-9]+N?")
_FLOAT = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?M?")
_WORD = re.compile(r"\\\S+|:?[\w*!?$%&=<>|.+\-/'#:]+")
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPED = {"t": "\t", "r": "\r", "n": "\n", "b": "\b", "f": "\f", "\\": "\\", '"': '"'}
_CONSTANTS = {"nil": None, "true": True, "false": False}
_TAG = object()


class EdnError(Exception):
    """What is wrong, and in which line."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line


class Word(str):
    """A keyword, a symbol or a character as it is written: `:a`, `a`, `\\a`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class _Refused(Exception):
    """What is wrong; the line is added above."""


def elements(text: str) -> Iterator[tuple[int, Any]]:
    """The elements one after the other with their lines; those of the vector or list instead, if
    the text begins with one."""
    line, counted = 1, 0  # the line of the character at `counted`
    outer = ""  # what closes that vector
    is_first, is_over = True, False
    open_ones: list[tuple[str, list[Any]]] = []
    begun = line
    position = 0
    while (token := _TOKEN.match(text, position)) is not None:
        position = token.end()
        kind = token.lastgroup or "bad"
        written = token[kind]
        if not open_ones or kind == "bad":
            start = token.start(kind)
            line, counted = line + text.count("\n", counted, start), start
            begun = line
        try:
            if is_over:
                raise _Refused(f"{shown(written)} comes after the end: remove it")
            if kind == "open":
                if is_first and written in ("[", "("):
                    outer = _CLOSERS[written]
                elif len(open_ones) == DEPTH_MAX:
                    raise _Refused(f"it is nested over {DEPTH_MAX} levels deep")
                else:
                    open_ones.append((written, []))
                is_first = False
                continue
            is_first = False
            if kind == "close":
                if not open_ones and written == outer:
                    is_over = True
                    continue
                value = _closed(open_ones, written)
            else:
                value = _single(kind, written)
        except _Refused as fault:
            line += text.count("\n", counted, token.start(kind))
            raise EdnError(line, str(fault)) from None
        if value is _TAG:
            continue
        if open_ones:
            open_ones[-1][1].append(value)
        else:
            yield begun, value
    if open_ones or (outer and not is_over):
        missing = _CLOSERS[open_ones[-1][0]] if open_ones else outer
        raise EdnError(begun, f"the text ends before {missing!r}: is the file whole?")


def _single(kind: str, written: str) -> Any:
    if kind == "string":
        return _unescaped(written[1:-1])
    if kind == "atom":
        return _atom(written)
    raise _Refused("a text in quotes does not end" if written == '"' else f"{shown(written)}?")


def _closed(open_ones: list[tuple[str, list[Any]]], closer: str) -> Any:
    """The collection that ends here."""
    if not open_ones or _CLOSERS[open_ones[-1][0]] != closer:
        raise _Refused(f"{closer!r} closes nothing: see what is before it")
    opener, items = open_ones.pop()
    if opener in ("[", "("):
        return tuple(items)
    if opener == "#{":
        return dict(enumerate(items))
    if len(items) % 2:
        raise _Refused("a map has a key without a value")
    try:
        pairs = dict(zip(items[::2], items[1::2], strict=True))
    except TypeError:
        raise _Refused("a map or a set is a key: use numbers, texts or keywords") from None
    if len(pairs) < len(items) // 2:
        raise _Refused("a map has a key twice: keep one")
    return pairs


@lru_cache(maxsize=4096)
def _atom(written: str) -> Any:
    if len(written) > ATOM_LENGTH_MAX:
        raise _Refused(f"{shown(written)} is over {ATOM_LENGTH_MAX} characters long")
    if written in _CONSTANTS:
        return _CONSTANTS[written]
    if _INTEGER.fullmatch(written):
        return int(written.removesuffix("N"))
    if _FLOAT.fullmatch(written) and isfinite(number := float(written.removesuffix("M"))):
        return number
    if re.fullmatch(r"#[A-Za-z][\w.*+!\-/?$%&=<>]*", written):
        return _TAG
    if written[0] in "#0123456789" or not _WORD.fullmatch(written):
        raise _Refused(f"{shown(written)} is nothing that Jepsen writes")
    return Word(written)


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(_character, text) if "\\" in text else text


def _character(escape: re.Match[str]) -> str:
    code = escape[1]
    if len(code) > 1:
        return chr(int(code[1:], 16))
    if code not in _ESCAPED:
        raise _Refused(f"the text has an escape that EDN does not know: {shown(escape[0])}")
    return _ESCAPED[code]
