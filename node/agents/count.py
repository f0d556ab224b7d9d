"""What one request used: an endpoint says so at the end of its answer; of a request that is broken
off before, or whose endpoint never says, there is an estimate; a request that was refused is free.

Invariant: what is counted of a request is counted once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from node.prompt.shown import Message

TOKEN_LENGTH = 4  # characters of a token, about, where nobody has counted


class Count:
    """The count of one request. `hear` gets the text of the answer as it comes, `count` all that
    the model writes; `spend` gets how many tokens were read and written."""

    def __init__(
        self,
        messages: Sequence[Message],
        hear: Callable[[str], None],
        spend: Callable[[int, int], None],
    ) -> None:
        self._asked = sum(len(message.content) for message in messages)
        self._heard = 0
        self._hear = hear
        self._spend = spend
        self.tokens_in: int | None = None  # until the endpoint tells
        self.tokens_out = 0
        self.is_told = False  # by the endpoint, of a request that it has answered

    def hear(self, text: str) -> None:
        """A piece of the answer, which is counted already."""
        if text:
            self._hear(text)

    def count(self, text: str) -> None:
        """What the model wrote, of whatever kind: answer, thought, refusal. All of it is paid
        for."""
        self._heard += len(text.encode(errors="replace"))

    def spend(self, tokens_in: int, tokens_out: int) -> None:
        """What the endpoint says that it was."""
        self.tokens_in, self.tokens_out, self.is_told = tokens_in, tokens_out, True
        self._spend(tokens_in, tokens_out)

    def refuse(self) -> None:
        """The endpoint has not taken the request on: nobody pays for that."""
        self.tokens_in = 0

    def close(self) -> None:
        """Nobody will say any more: count what was sent and what came."""
        if self.tokens_in is None:
            self._spend(self._asked // TOKEN_LENGTH, self._heard // TOKEN_LENGTH)

    def close_if_heard(self) -> None:
        """The same of a request of which nobody knows whether it was ever taken on."""
        if self._heard:
            self.close()
