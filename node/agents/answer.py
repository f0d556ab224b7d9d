"""Reading a model's answer: which files are in it, and what is wrong with it.

Invariant: the files that come out are among those that were wanted, are complete (their fence was
closed), not empty and within the size limits; and they are the same however the text was cut into
pieces on its way. Everything else becomes a fault in plain words, to be shown to the model.

Fences follow CommonMark 0.31, section 4.5, with two liberties that models need: a fence with an
info string inside a block opens a nested block (CommonMark has no nesting, models do nest), and a
fence that names another wanted file ends a block that its author forgot to close.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from protocol.jobs import FILE_SIZE_MAX, RESULT_SIZE_MAX, File

ANSWER_SIZE_MAX = 4 * RESULT_SIZE_MAX  # characters of an answer that are read at all
REFUSED_MAX = 20  # paths that nobody asked for, listed in the faults
_NESTING_MAX = 20
_FIRST_LINE_SIZE_MAX = 400  # characters: matching takes the square of them

_CONSOLE_LANGUAGES = ("bash", "sh", "shell", "console", "text", "output", "diff")

_FENCE = re.compile(r"^ {0,3}(?P<marks>`{3,}|~{3,})(?P<info>.*)$")
_PATH_KEY = re.compile(r"""\b(?:path|file|filename|title|name)\s*[=:]\s*["'`]?([^\s"'`},]+)""")
_PATH_LIKE = re.compile(r"^[\w.\-]+(?:/[\w.\-]+)*$")
_WORD = re.compile(r"[\w./\-]+")
_FIRST_LINE = re.compile(
    r"^\s*(?:#|//|--|;|/\*|<!--)\s*(?:(?:file|path|filename)\s*:\s*)?[`*]*"
    r"(?P<path>[\w./\-]+)[`*]*\s*(?:\*/|-->)?\s*$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found. `missing` are the wanted paths without a usable file, `faults` say why;
    `refused` are paths in the answer that nobody asked for; `truncated` names the block that was
    still open at the end; of a `guessed` file nothing in the answer says which one it is; `said` is
    what stands outside of all blocks."""

    files: tuple[File, ...]
    missing: tuple[str, ...]
    faults: tuple[str, ...]
    refused: tuple[str, ...]
    truncated: str
    guessed: bool = False
    said: str = ""


@dataclass(slots=True)
class _Block:
    """A fenced block being read."""

    at: int  # the number of its opening line
    letter: str
    length: int
    path: str  # empty: not known (yet)
    named_inside: bool  # the path may still come from the first line
    lines: list[str]
    nested: int = 0


class AnswerReader:
    """Reads an answer as it streams in: `feed` gives the files that each piece completes."""

    def __init__(self, wanted: tuple[str, ...]) -> None:
        self._wanted = wanted
        self._rest: list[str] = []  # pieces of the unfinished last line
        self._block: _Block | None = None
        self._count = 0  # of whole lines so far
        self._outside: list[str] = []  # lines
        self._previous = ""  # the last of them that was not blank
        self._files: dict[str, File] = {}
        self._unnamed: list[str] = []
        self._refused: dict[str, None] = {}
        self._rejected: dict[str, str] = {}  # wanted path -> why its block cannot be used

    def feed(self, text: str) -> tuple[File, ...]:
        """Take the next piece; return the files completed by it."""
        if "\n" not in text:
            self._rest.append(text)
            return ()
        *lines, rest = ("".join(self._rest) + text).split("\n")
        self._rest = [rest]
        before = dict(self._files)
        for line in lines:
            self._take(line.removesuffix("\r"))
        return tuple(file for path, file in self._files.items() if before.get(path) != file)

    def take(self, path: str, content: str) -> None:
        """A file that came otherwise than in a fence."""
        path = _plain(path)
        if path in self._wanted:
            self._keep(path, content)
        else:
            self._refuse(path)

    @property
    def open_block(self) -> tuple[int, str] | None:
        """The number of the line (from 0) that opened the block which is being read, and the path
        of its file, if that is known."""
        return (self._block.at, self._block.path) if self._block is not None else None

    @property
    def outside(self) -> str:
        """The whole lines so far that stand outside of all blocks."""
        return "\n".join(self._outside)

    def named_by(self, line: str) -> str | None:
        """The path in a line that opens a block, None if the line opens none. A fence without any
        info does not count: inside a block it is the end."""
        fence = _FENCE.match(line)
        if fence is None or not _opens(fence) or not fence["info"].strip():
            return None
        return self._path_in_info(fence["info"])

    def close(self) -> Answer:
        """The end of the text: settle what is still open."""
        rest = "".join(self._rest)
        if rest:
            self._take(rest.removesuffix("\r"))
            self._rest = []
        truncated = ""
        if self._block is not None:
            truncated = self._block.path or "a block without a path"
            self._block = None
        guessed = self._settle_unnamed()
        files = self._within_limit()
        missing = tuple(path for path in self._wanted if path not in self._files)
        faults = [self._rejected[path] for path in missing if path in self._rejected]
        if truncated and missing:
            faults.append(f"{truncated} is cut off: its fence is not closed")
        faults += [
            f"{path} is missing"
            for path in missing
            if path != truncated and path not in self._rejected
        ]
        if missing and len(self._unnamed) > 1:
            faults.append(f"{len(self._unnamed)} blocks do not say which file they are")
        refused = tuple(self._refused)
        if missing and refused:
            faults.append(f"nobody asked for {', '.join(refused)}")
        said = "\n".join(self._outside)
        return Answer(files, missing, tuple(faults), refused, truncated, guessed, said)

    # -- lines ---------------------------------------------------------------------------------

    def _take(self, line: str) -> None:
        self._count += 1
        if self._block is None:
            self._take_outside(line)
        else:
            self._take_inside(self._block, line)

    def _take_outside(self, line: str) -> None:
        fence = _FENCE.match(line)
        if fence is None or not _opens(fence):
            self._outside.append(line)
            self._previous = line if line.strip() else self._previous
            return
        self._open(fence)

    def _open(self, fence: re.Match[str]) -> None:
        marks = fence["marks"]
        path = self._path_in_info(fence["info"])
        mentioned = "" if path else self._path_in_prose(self._previous)
        if mentioned in self._files or fence["info"].strip().lower() in _CONSOLE_LANGUAGES:
            mentioned = ""  # "run add.py like this:" names no file, nor replaces one
        self._previous = ""
        path = path or mentioned
        self._block = _Block(self._count - 1, marks[0], len(marks), path, not path, [])

    def _take_inside(self, block: _Block, line: str) -> None:
        fence = _FENCE.match(line)
        if fence is not None and fence["marks"][0] == block.letter:
            longer = len(fence["marks"]) >= block.length
            if not fence["info"].strip():
                if longer and not block.nested:
                    self._finish(block)
                    return
                block.nested = max(0, block.nested - 1)
            elif _opens(fence) and longer:
                other = self._path_in_info(fence["info"])
                if other in self._wanted and other != block.path and block.path in self._wanted:
                    self._rejected[block.path] = f"{block.path}: its fence is not closed"
                    self._open(fence)
                    return
                block.nested = min(_NESTING_MAX, block.nested + 1)
        if block.named_inside:
            block.named_inside = False
            path = self._path_in_first_line(line)
            if path:
                block.path = path
                return
        block.lines.append(line)

    def _finish(self, block: _Block) -> None:
        self._block = None
        content = "".join(f"{line}\n" for line in block.lines)
        if not block.path:
            self._unnamed.append(content)
        elif block.path in self._wanted:
            self._keep(block.path, content)
        else:
            self._refuse(block.path)

    # -- files ---------------------------------------------------------------------------------

    def _keep(self, path: str, content: str) -> None:
        """The last block of a path counts: models correct themselves further down."""
        encoded = content.encode(errors="replace")  # a lone surrogate cannot be a file
        if not content.strip() and not path.endswith("__init__.py"):
            self._rejected[path] = f"{path} is empty"
        elif len(encoded) > FILE_SIZE_MAX:
            self._rejected[path] = (
                f"{path} is {len(encoded)} bytes, the limit for one file is {FILE_SIZE_MAX}"
            )
        else:
            self._files[path] = File(path, encoded)

    def _refuse(self, path: str) -> None:
        if len(self._refused) < REFUSED_MAX:
            self._refused[path] = None

    def _settle_unnamed(self) -> bool:
        """One block, one file wanted: no name is needed."""
        if len(self._wanted) != 1 or len(self._unnamed) != 1 or self._files:
            return False
        self._keep(self._wanted[0], self._unnamed.pop())
        return True

    def _within_limit(self) -> tuple[File, ...]:
        size = 0
        for path in self._wanted:
            if path in self._files:
                size += len(self._files[path].content)
                if size > RESULT_SIZE_MAX:
                    del self._files[path]
                    self._rejected[path] = (
                        f"{path} brings all files over the limit of {RESULT_SIZE_MAX} bytes"
                    )
        return tuple(self._files[path] for path in self._wanted if path in self._files)

    # -- names ---------------------------------------------------------------------------------

    def _path_in_info(self, info: str) -> str:
        """```python path=add.py, ```python add.py, ```add.py, ```python:add.py"""
        named = _PATH_KEY.search(info)
        if named:
            return _plain(named[1])
        words = [_plain(word) for word in re.split(r"[\s:{}]+", info)]
        for word in words:
            if word in self._wanted:
                return word
        for word in words:
            if _looks_like_path(word):
                return word
        return ""

    def _path_in_prose(self, line: str) -> str:
        """`# file: add.py`, `**add.py**`, `### add.py`, or a line that names one wanted file."""
        words = [_plain(word.rstrip(".")) for word in _WORD.findall(line)]
        mentioned = {word: None for word in words if word in self._wanted}
        if len(mentioned) == 1:
            return next(iter(mentioned))
        bare = re.sub(r"^\W*(?:(?:file|path|filename)\s*:)?", "", line, flags=re.IGNORECASE)
        bare = _plain(bare.strip(" \t*`#:\"'"))
        return bare if not mentioned and _looks_like_path(bare) else ""

    def _path_in_first_line(self, line: str) -> str:
        named = _FIRST_LINE.match(line) if len(line) <= _FIRST_LINE_SIZE_MAX else None
        path = _plain(named["path"]) if named else ""
        return path if path in self._wanted else ""


def _opens(fence: re.Match[str]) -> bool:
    """An info string of a backtick fence holds no backtick (else it is inline code)."""
    return fence["marks"][0] == "~" or "`" not in fence["info"]


def _plain(path: str) -> str:
    return path.strip("`*'\"").removeprefix("./")


def _looks_like_path(word: str) -> bool:
    name = word.rpartition("/")[2]
    return bool(_PATH_LIKE.match(word)) and bool(re.search(r"\w\.\w+$", name))
