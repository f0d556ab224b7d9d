"""Text from elsewhere, made such that it can be encoded.

Invariant: what comes out holds no surrogate code point. A model's JSON may bring one ("\\ud83d", a
character cut in half), Python reads it without complaint, and the first `str.encode` after that
raises, far from where the text came in.
"""

from __future__ import annotations

import codecs


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
