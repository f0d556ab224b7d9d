"""A prompt that is longer than what the model can hold, as servers of various makes say so.

Invariant: what is no such complaint is not taken for one; where a server tells its numbers, they
are read, and where it does not, nothing is made up.

Sources: OpenAI's error code `context_length_exceeded`; the messages of vLLM, SGLang, llama.cpp,
TGI, LM Studio, Ollama, Anthropic, Mistral, Gemini, Groq and Bedrock, as their servers send them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from node.agents import AgentError
from protocol.events import Failure

ANSWER_ROOM = 1_024  # tokens that a shortened prompt should leave for the answer
SPARE = 1.1  # characters are no tokens: leave out a tenth more than is told
_STATUSES = (0, 400, 422, 500)  # 0: none, in the middle of a stream
_KINDS = frozenset(
    ("context_length_exceeded", "exceed_context_size_error", "string_above_max_length")
)

_SAYINGS = re.compile(
    r"maximum context length|context length exceeded|context_length_exceeded"
    r"|exceeds? (?:the |this model's )?(?:available |model's |maximum )?context"
    r"|exceeds? the context window|longer than the (?:maximum )?model(?:'s)?"
    r"|(?:prompt|input|request) (?:is )?too (?:long|large)\b|reduce the length of the"
    r"|input is too long|exceeds? the maximum number of tokens|maximum number of input tokens"
    r"|too large for model with \d+|context (?:the )?overflows|exceed context limit"
    r"|input tokens exceed|too many (?:input |prompt )?tokens|context too long"
    r"|`inputs` tokens",
    re.IGNORECASE,
)

# `asked` in all, or the prompt's part and the answer's; and the `limit`.
_NUMBERS = tuple(
    re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for pattern in (
        # OpenAI once, vLLM: "maximum context length is 4096 tokens. However, you requested 5000
        # tokens (4000 in the messages, 1000 in the completion)"; SGLang: "... of 4096 tokens. You
        # requested a total of 5000 tokens: 4000 tokens from the input messages and 1000 ..."
        r"context length (?:is|of) (?P<limit>\d+).*?requested (?:a total of )?(?P<asked>\d+)"
        r" tokens\W+(?P<prompt>\d+) (?:tokens from|in) the",
        # vLLM: "'max_tokens' or 'max_completion_tokens' is too large: 4096. This model's maximum
        # context length is 4096 tokens and your request has 200 input tokens"
        r"is too large: (?P<answer>\d+)\..*?context length is (?P<limit>\d+) tokens and your "
        r"request has (?P<prompt>\d+) input tokens",
        # OpenAI, vLLM: "maximum context length is 128000 tokens. However, your messages resulted in
        # 130000 tokens"; "... your request has 9000 input tokens"
        r"context length (?:is|of) (?P<limit>\d+).*?"
        r"(?:resulted in|request has|requested|contains) (?:at least )?(?P<asked>\d+)",
        # OpenAI: "exceed the configured limit of 272000 tokens. Your messages resulted in 300000"
        r"limit of (?P<limit>\d+) tokens.*?resulted in (?P<asked>\d+)",
        # vLLM: "prompt (length 9000) is longer than the maximum model length of 8192"
        r"\(length (?P<asked>\d+)\) is longer than the maximum model length of (?P<limit>\d+)",
        # SGLang: "The input (9000 tokens) is longer than the model's context length (8192 tokens)";
        # llama.cpp: "request (9000 tokens) exceeds the available context size (8192 tokens)"
        r"\((?P<asked>\d+) tokens\) (?:is longer than|exceeds) [^(]*\((?P<limit>\d+) tokens\)",
        # Anthropic: "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000"
        r"context limit: (?P<prompt>\d+) \+ (?P<answer>\d+) > (?P<limit>\d+)",
        # Anthropic: "prompt is too long: 210000 tokens > 200000 maximum"
        r"too long: (?P<asked>\d+) tokens > (?P<limit>\d+)",
        # Mistral: "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768"
        r"contains (?P<asked>\d+) tokens.*?too large for model with (?P<limit>\d+)",
        # Gemini: "token count (1100000) exceeds the maximum number of tokens allowed (1048576)"
        r"\((?P<asked>\d+)\) exceeds the maximum number of tokens allowed \((?P<limit>\d+)\)",
        # LM Studio: "keep the first 5000 tokens ... context length of only 4096 tokens"
        r"first (?P<asked>\d+) tokens.*?context length of only (?P<limit>\d+)",
        # TGI: "must be <= 4096. Given: 5000 `inputs` tokens and 100 `max_new_tokens`"
        r"must be <= (?P<limit>\d+)\. Given: (?P<prompt>\d+) `inputs` tokens and (?P<answer>\d+)",
        # OpenAI, Groq, of a request that no minute has room for: "Limit 6000, Requested 7000"
        r"Limit (?P<limit>\d+), Requested (?P<asked>\d+)",
    )
)
_SEPARATOR = re.compile(r"(?<=\d),(?=\d{3}\b)")  # in 128,000


class Overflow(AgentError):
    """The prompt is too long. `asked` are the tokens that were too many for `limit`; 0 where nobody
    has said. `prompt` is the prompt's part of them, where room for the answer was counted in."""

    def __init__(self, words: str, asked: int = 0, limit: int = 0, prompt: int = 0) -> None:
        too_many = f": {asked - limit} tokens too many" if asked > limit else ""
        super().__init__(
            Failure.OVERFLOW, f"the prompt is too long for the model{too_many} ({words})"
        )
        self.asked = asked
        self.limit = limit
        self.prompt = prompt

    @property
    def room(self) -> int:
        """How many tokens the answer to this prompt may have; 0 if none, or nobody has said."""
        return max(0, self.limit - self.prompt) if self.prompt else 0

    def excess(self, size: int) -> int:
        """How many of the prompt's `size` characters should be left out, with room made for an
        answer; half of them, where nobody says how many tokens were too many."""
        tokens = self.prompt or self.asked
        too_many = tokens - self.limit + min(ANSWER_ROOM, self.limit // 4)
        if not tokens or too_many <= 0:
            return size // 2
        return min(size, int(SPARE * size * too_many / tokens))


def read_overflow(
    status: int, kinds: tuple[str, ...], words: str, body: object = None
) -> Overflow | None:
    """The complaint that a prompt is too long, None if it is another one. `status` is 0 in the
    middle of a stream, `kinds` are the error's code and type, `words` its message, and `body` the
    error itself, which may hold numbers."""
    is_said = status in _STATUSES and bool(_SAYINGS.search(words))
    is_never_to_pass = status == 429 and words.startswith("Request too large")
    if not (is_said or is_never_to_pass or status == 413 or _KINDS.intersection(kinds)):
        return None
    plain = _SEPARATOR.sub("", words)
    for numbers in _NUMBERS:
        if found := numbers.search(plain):
            told = {name: int(number) for name, number in found.groupdict().items()}
            prompt = told.get("prompt", 0)
            asked = told.get("asked", prompt + told.get("answer", 0))
            return Overflow(words, asked, told["limit"], prompt)
    if isinstance(body, Mapping):  # llama.cpp
        read, held = body.get("n_prompt_tokens"), body.get("n_ctx")
        if type(read) is int and type(held) is int and read > held > 0:
            return Overflow(words, read, held)
    return Overflow(words)
