"""An answer that was cut off at the endpoint's token limit, and what the model writes when it is
asked to go on: two texts that become one.

Invariant: when the model begins with the lines that it is told to repeat, not a byte is lost or
doubled, wherever the answer was cut and however what follows comes in pieces. A model that does
otherwise is understood where it can be: it goes on without repeating, repeats fewer lines or more,
opens the block anew, or begins the file again.

What is kept of the first text are its whole lines up to the last one that is not blank; the rest is
written anew. The lines to be repeated (`anchor_of`) occur only once, so that they can be found.
"""

from __future__ import annotations

import re

from node.agents.answer import AnswerReader
from node.prompt.follow_up import anchor_of

LEAD_MAX = 6  # lines that a model may put before those it is told to repeat
_LEAD = re.compile(r"(?:[A-Z].*[.:!]|[`~]{3,})?")  # "I go on:", a bare fence, a blank line
_PROSE = (".md", ".markdown", ".rst", ".txt")  # files that may begin a nested block anywhere


class Seam:
    """Joins what follows to what was `kept`: the pieces that come out are the whole answer."""

    def __init__(self, kept: str, wanted: tuple[str, ...]) -> None:
        self._kept = kept
        self._anchor = tuple(line.strip() for line in anchor_of(kept))
        self._reader = AnswerReader(wanted)
        self._reader.feed(kept)
        self._wanted = wanted
        self._head = ""  # what came so far, until it is clear how it goes on
        self._is_joined = False

    def feed(self, piece: str) -> str:
        """The next piece of the continuation; what it adds to the whole answer."""
        if self._is_joined:
            return piece
        self._head += piece
        lines = self._head.split("\n")[:-1]
        if self._anchor_in(lines) is None and len(lines) < LEAD_MAX + len(self._anchor):
            return ""
        return self._join(lines)

    def close(self) -> str:
        """The end of the continuation: what was held back."""
        if self._is_joined:
            return ""
        return self._join(self._head.split("\n"))

    def _join(self, lines: list[str]) -> str:
        """The answer up to here, once enough of the continuation is there."""
        self._is_joined = True
        at = self._anchor_in(lines)
        repeated = self._repeated(lines) if at is None else at + len(self._anchor)
        if repeated:
            return self._kept + _after(self._head, repeated)
        first = lines[:LEAD_MAX]
        opening = next((number for number, line in enumerate(first) if line.strip()), None)
        block = self._reader.open_block
        path = None if opening is None else self._reader.named_by(lines[opening].rstrip("\r"))
        if opening is None or block is None or path is None or self._is_content(path, block[1]):
            return self._kept + self._head
        begun = self._kept.split("\n")[block[0] + 1 : -1]
        rest = _after(self._head, opening + 1)
        if begun and begun[0].strip() == rest.partition("\n")[0].strip():
            kept = "".join(f"{line}\n" for line in self._kept.split("\n")[: block[0] + 1])
            return kept + rest  # the file from its beginning
        return self._kept + rest

    def _anchor_in(self, lines: list[str]) -> int | None:
        """The line at which the repeated ones begin, at once or after a few words."""
        size = len(self._anchor)
        if not size:
            return 0
        plain = [line.strip() for line in lines[: LEAD_MAX + size]]
        for at in range(len(plain) - size + 1):
            if tuple(plain[at : at + size]) == self._anchor:
                return at
            if not self._is_lead(plain[at]):
                return None
        return None

    def _repeated(self, lines: list[str]) -> int:
        """How many lines at the beginning are the last ones that were kept: others than the model
        was told to repeat. Their indents count, lest the next of many closing braces be one."""
        ends = [line.rstrip() for line in self._kept.split("\n")[:-1]]
        plain = [line.rstrip() for line in lines[: LEAD_MAX + len(self._anchor)]]
        sizes = range(min(len(ends), len(plain)), 0, -1)
        return next((size for size in sizes if plain[:size] == ends[-size:]), 0)

    def _is_lead(self, line: str) -> bool:
        """Whether a model may put this before the lines that it repeats."""
        path = self._reader.named_by(line)
        if path is None:
            return bool(_LEAD.fullmatch(line))
        block = self._reader.open_block
        return block is not None and path in ("", block[1])

    def _is_content(self, path: str, open_path: str) -> bool:
        """Whether a line that opens a block belongs to the answer: it names another file, or may
        stand within this one."""
        if path and open_path:
            return path != open_path
        return not path and open_path.endswith(_PROSE)


def _after(text: str, lines: int) -> str:
    """The text without its first so many lines."""
    for _ in range(lines):
        text = text.partition("\n")[2]
    return text
