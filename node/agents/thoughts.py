"""Thoughts that a model writes before its answer, between <think> and </think>, where no server has
taken them out: they may hold drafts of the files, and no two answers to a question share them.

Invariant: what is left does not depend on how the text was cut into pieces; a text that does not
begin with a thought passes unchanged, and a thought that does not end hides all the rest.
"""

from __future__ import annotations

_OPENINGS = ("<think>", "<thinking>")


class Thoughts:
    """Leaves out what a model thinks aloud at the beginning of its answer."""

    def __init__(self) -> None:
        self._held = ""  # not decided yet
        self._closing = ""  # what ends the thought that goes on
        self._is_over = False

    def feed(self, piece: str) -> str:
        """What of the piece belongs to the answer."""
        if self._is_over:
            return piece
        self._held += piece
        if not self._closing:
            begun = self._held.lstrip()
            opening = next((word for word in _OPENINGS if begun.startswith(word)), "")
            if not opening:
                if any(word.startswith(begun) for word in _OPENINGS):
                    return ""  # it may become one
                return self._end(0)
            self._closing = opening.replace("<", "</")
        at = self._held.find(self._closing)
        if at < 0:
            self._held = self._held[-len(self._closing) :]  # its first half may be here
            return ""
        return self._end(at + len(self._closing))

    def close(self) -> str:
        """The end of the text: what was held back and is no thought."""
        return "" if self._closing or self._is_over else self._end(0)

    def _end(self, at: int) -> str:
        self._is_over = True
        rest, self._held = self._held[at:], ""
        return rest
