"""What an endpoint answers, read from the shapes that servers of other makes give to it.

Invariant: nothing is trusted to have the type that OpenAI's reference gives it (the client checks
none); what is no text is none, and what is no count has not been counted.

Source: the API reference at platform.openai.com (the chat completion object, the chunk object), and
what others put beside it: `reasoning_content` (DeepSeek, vLLM), contents in parts (Mistral).
"""

from __future__ import annotations

from dataclasses import dataclass

TOKENS_MAX = 2**40  # of one answer, as far as an endpoint's word is believed
_CUT_OFF = ("length", "max_tokens", "model_length")  # OpenAI, Anthropic, Mistral
_FILTERED = ("content_filter", "refusal", "safety", "prohibited_content", "sensitive")


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer. `finish_reason` is the endpoint's: stop, length, content_filter, ...;
    `refusal` is what the model says in that field of its own; `tools` are the functions that it
    wants called, though it was offered none."""

    text: str
    finish_reason: str
    refusal: str = ""
    tools: tuple[str, ...] = ()

    @property
    def is_cut_off(self) -> bool:
        """Whether it ended at the endpoint's token limit."""
        return self.finish_reason.lower() in _CUT_OFF

    @property
    def is_filtered(self) -> bool:
        """Whether the endpoint stopped it for what it says."""
        return self.finish_reason.lower().startswith(_FILTERED)


@dataclass(frozen=True, slots=True)
class Piece:
    """What one chunk of a stream says, or a whole completion. `thought` is no part of the answer;
    `used` is (tokens read, tokens written), None where the endpoint does not say."""

    text: str = ""
    thought: str = ""
    refusal: str = ""
    tool: str = ""
    finish_reason: str = ""
    used: tuple[int, int] | None = None


def read_chunk(chunk: object) -> Piece:
    """What stands in a chunk of a stream; nothing, if it has no choice."""
    choice = _choice_of(chunk)
    return _read(choice, _field(choice, "delta"), chunk)


def read_completion(completion: object) -> Piece:
    """What stands in a completion that came at once, as the client's object or as JSON. ValueError
    if no message is in it."""
    choice = _choice_of(completion)
    message = _field(choice, "message")
    if message is None:
        raise ValueError("a completion without any choice")
    return _read(choice, message, completion)


def _read(choice: object, message: object, completion: object) -> Piece:
    thought = _field(message, "reasoning_content") or _field(message, "reasoning")
    return Piece(
        _text_of(_field(message, "content")),
        _text_of(thought),
        _text_of(_field(message, "refusal")),
        _tool_of(message),
        _text_of(_field(choice, "finish_reason")),
        _used_of(_field(completion, "usage")),
    )


def _choice_of(completion: object) -> object:
    choices = _field(completion, "choices")
    return choices[0] if isinstance(choices, list) and choices else None


def _field(thing: object, name: str) -> object:
    return thing.get(name) if isinstance(thing, dict) else getattr(thing, name, None)


def _text_of(content: object) -> str:
    """A text, also one that comes in parts; parts that are not text are left out."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = [part for part in content if _field(part, "type") in ("text", "output_text")]
    return "".join(_text_of(_field(part, "text")) for part in parts)


def _tool_of(message: object) -> str:
    """The name of the function that the model wants called, if it wants any."""
    calls = _field(message, "tool_calls")
    call = calls[0] if isinstance(calls, list) and calls else None
    return _text_of(
        _field(_field(call or message, "function" if call else "function_call"), "name")
    )


def _used_of(usage: object) -> tuple[int, int] | None:
    """None unless both figures are there: half a count would let the other half go for nothing."""
    read = _tokens_of(_field(usage, "prompt_tokens"))
    written = _tokens_of(_field(usage, "completion_tokens"))
    return None if read is None or written is None else (read, written)


def _tokens_of(count: object) -> int | None:
    """The endpoint's figure if it is a number that can be meant."""
    return count if type(count) is int and 0 <= count <= TOKENS_MAX else None
