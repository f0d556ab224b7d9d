"""How many tokens an endpoint may count for a prompt: what a call reserves before it is made.

An endpoint may put a prompt of its own before ours, and splits text in its own way:

    tokens <= rate * bytes + hidden

    at first     2 tokens a byte, and FIRST_HIDDEN of the endpoint's own
    then         no more is hidden than the smallest prompt had tokens that it has told of; and it
                 is one token a byte if it ever told of fewer tokens than bytes
    besides      the largest excess over a token a byte that it told of counts as hidden

A ratio alone would not do: learnt from a long prompt it is too small for a short one, if a part is
hidden, and the other way round it is far too large.

Promise: a server with a constant hidden part of FIRST_HIDDEN at most and a constant ratio of two
tokens a byte at most never counts more than was reserved; nor does one with any constant hidden
part, once it has told of a prompt, if no byte of ours is more than a token, as in all tokenizers in
use. Beyond that a server can count whatever it likes: then the call exceeds its reservation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from json import dumps

from node.prompt.shown import Message

MESSAGE_OVERHEAD = 16  # tokens that a message costs beside its words
FIRST_HIDDEN = 4_096  # tokens before our own, of an endpoint that has told nothing yet
RATE_MAX = 2  # tokens a byte
MORE = 1.25  # times as much may be hidden next time: such a prompt has dates and names in it


def size_of(messages: Sequence[Message], schema: Mapping[str, object] | None = None) -> int:
    """The bytes of a request that may count, with what each message costs beside its words."""
    form = len(dumps(schema).encode()) if schema is not None else 0
    return form + sum(len(each.content.encode()) + MESSAGE_OVERHEAD for each in messages)


class Estimate:
    """What one endpoint, with one model, has told of its counting to this process."""

    def __init__(self) -> None:
        self._least: int | None = None  # tokens of the smallest prompt that was told
        self._excess = 0  # over a token a byte, the largest that was told
        self._rate = RATE_MAX

    def tokens(self, size: int) -> int:
        """How many tokens so many bytes may be counted for."""
        if self._least is None:
            return self._rate * size + FIRST_HIDDEN
        return self._rate * size + int(MORE * max(self._least, self._excess)) + 1

    def learn(self, size: int, told: int) -> None:
        """The endpoint has told how many tokens so many bytes were."""
        self._least = told if self._least is None else min(self._least, told)
        self._excess = max(self._excess, told - size)
        if told < size:
            self._rate = 1
