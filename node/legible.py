"""Text from elsewhere, made such that it can be encoded, and shown on a terminal.

Invariant: what comes out holds no surrogate code point. A model's JSON may bring one ("\\ud83d", a
character cut in half), Python reads it without complaint, and the first `str.encode` after that
raises, far from where the text came in.
"""

from __future__ import annotations

import codecs
import re

# What moves the cursor, sets the clipboard or turns the direction around (Unicode's bidirectional
# controls: Boucher and Anderson 2021, *Trojan Source*). Line ends and tabs are none.
_UNPRINTABLE = re.compile(
    "\r(?!\n)|[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


class Legible:
    """Cleans text that comes in pieces: a character whose halves come in two pieces is whole."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-16-le")("replace")

    def feed(self, piece: str) -> str:
        """The clean text of this piece, without a first half that may find its second yet."""
        if piece.isascii():
            pending = self._decoder.getstate()[0]
            if not pending:
                return piece
        return self._decoder.decode(piece.encode("utf-16-le", "surrogatepass"))

    def close(self) -> str:
        """What was held back."""
        return self._decoder.decode(b"", True)


def legible(text: str) -> str:
    """The text with U+FFFD in the place of each half character."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def printable(text: str) -> str:
    """The text with U+FFFD in the place of each character that a terminal would obey."""
    return _UNPRINTABLE.sub("\ufffd", text)
