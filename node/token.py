"""The token that clients show to a node's door, as it is kept in variables and files.

Invariant: a token that was read fits into an HTTP header. One that does not is a `TokenError`: a
line that names where it was found, and never the token.
"""

from __future__ import annotations

from pathlib import Path

from protocol.errors import QuorateError

LENGTH_MAX = 256  # characters


class TokenError(QuorateError):
    """A token that cannot be used or read; one line with the remedy."""


def checked_token(text: str, source: str) -> str:
    """The token in `text`, without the blanks around it; `source` is how messages call its place.
    Empty if there is none."""
    token = text.strip()
    if len(token) > LENGTH_MAX or not token.isascii() or not token.isprintable():
        raise TokenError(
            f"{source}: a token is at most {LENGTH_MAX} printable ASCII characters: it travels "
            "in a header: set the one that the node has"
        )
    return token


def read_token(path: Path, source: str) -> str:
    """The token in a file; FileNotFoundError if there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read(4 * LENGTH_MAX)
    except FileNotFoundError:
        raise
    except OSError as fault:
        raise TokenError(
            f"{source} cannot be read ({fault.strerror}): a token is read by the user who made it"
        ) from None
    return checked_token(text, source)
