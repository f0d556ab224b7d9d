"""The shapes of the OpenAI chat completions API, as far as the simulated model speaks it.

Invariant: `read_body` returns a `ChatRequest` whose every field has been checked, or raises
`BadRequest`, which carries the error in OpenAI's form; nothing unchecked passes.

Source: the API reference at platform.openai.com (Chat: create, the chat completion object, the
chunk object; Models: list; Error codes).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TypeAlias

from node.prompt.shown import Message

Json: TypeAlias = dict[str, "Json"] | list["Json"] | str | int | float | bool | None

MESSAGES_MAX = 1_000
FINGERPRINT = "simulated"
_ROLES = {"system", "developer", "user", "assistant", "tool"}


class BadRequest(Exception):
    """A request that is refused, with the status and the error object of the answer."""

    def __init__(
        self, message: str, *, status: int = 400, parameter: str = "", code: str = ""
    ) -> None:
        super().__init__(message)
        self.status = status
        kind = "invalid_request_error" if status < 500 else "server_error"
        if status == 429:
            kind = "requests"
        self.body = error_body(message, kind, parameter, code)


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What was asked, and how to answer."""

    model: str
    messages: tuple[Message, ...]
    stream: bool
    include_usage: bool
    limit: int | None = None  # tokens of the answer
    as_json: bool = False  # by a schema; its form follows from what is asked for


@dataclass(frozen=True, slots=True)
class Stamp:
    """What all parts of one answer have in common."""

    id: str
    created: int
    model: str


def read_body(body: bytes) -> ChatRequest:
    """Check and read the body of a chat completions request."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError) as fault:  # the latter: nested too deep
        raise BadRequest(f"The body is not JSON: {fault}") from None
    if not isinstance(asked, dict):
        raise BadRequest("The body is not a JSON object")
    model = asked.get("model")
    if not isinstance(model, str) or not model:
        raise BadRequest("you must provide a model parameter", parameter="model")
    stream = _flag(asked, "stream")
    options = asked.get("stream_options")
    if options is not None:
        if not stream:
            raise BadRequest(
                "stream_options goes with stream=true only", parameter="stream_options"
            )
        if not isinstance(options, dict):
            raise BadRequest("stream_options is not an object", parameter="stream_options")
    count = asked.get("n", 1)
    if count not in (1, None):
        raise BadRequest("this model gives one choice: leave n at 1", parameter="n")
    return ChatRequest(
        model,
        _messages(asked.get("messages")),
        stream,
        _flag(options or {}, "include_usage"),
        _limit(asked),
        _is_json(asked.get("response_format")),
    )


def error_body(message: str, kind: str, parameter: str = "", code: str = "") -> Json:
    """The error object."""
    return {
        "error": {
            "message": message,
            "type": kind,
            "param": parameter or None,
            "code": code or None,
        }
    }


def models_body(names: tuple[str, ...], created: int) -> Json:
    """The answer of GET /v1/models."""
    return {
        "object": "list",
        "data": [
            {"id": name, "object": "model", "created": created, "owned_by": "simulated"}
            for name in names
        ],
    }


def completion_body(
    stamp: Stamp, text: str, finish_reason: str, usage: Json, refusal: str = ""
) -> Json:
    """A whole answer at once; a refusal comes in the place of a text."""
    return {
        "id": stamp.id,
        "object": "chat.completion",
        "created": stamp.created,
        "model": stamp.model,
        "system_fingerprint": FINGERPRINT,
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": None if refusal else text,
                    "refusal": refusal or None,
                },
                "logprobs": None,
                "finish_reason": finish_reason,
            }
        ],
        "usage": usage,
    }


def chunk_body(stamp: Stamp, delta: Json, finish_reason: str | None) -> dict[str, Json]:
    """One piece of a streamed answer."""
    return {
        "id": stamp.id,
        "object": "chat.completion.chunk",
        "created": stamp.created,
        "model": stamp.model,
        "system_fingerprint": FINGERPRINT,
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}],
    }


def usage_body(read: int, written: int) -> Json:
    """The usage object."""
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def event(body: Json) -> bytes:
    """A server-sent event."""
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def _flag(asked: dict[str, Json], name: str) -> bool:
    value = asked.get(name)
    if value not in (True, False, None):
        raise BadRequest(f"{name} is not a boolean", parameter=name)
    return bool(value)


def _limit(asked: dict[str, Json]) -> int | None:
    """`max_completion_tokens`, or under its older name `max_tokens`."""
    for name in ("max_completion_tokens", "max_tokens"):
        limit = asked.get(name)
        if limit is None:
            continue
        if type(limit) is not int or limit < 1:
            raise BadRequest(f"{name} is not a positive integer", parameter=name)
        return limit
    return None


def _is_json(form: Json) -> bool:
    """Whether `response_format` asks for JSON by a schema."""
    if form is None:
        return False
    kind = form.get("type") if isinstance(form, dict) else None
    if kind not in ("text", "json_schema"):
        raise BadRequest(
            "response_format.type must be text or json_schema", parameter="response_format"
        )
    return kind == "json_schema"


def _messages(given: Json) -> tuple[Message, ...]:
    if not isinstance(given, list) or not given:
        raise BadRequest("messages must be a non-empty array", parameter="messages")
    if len(given) > MESSAGES_MAX:
        raise BadRequest(f"messages are limited to {MESSAGES_MAX}", parameter="messages")
    return tuple(_message(item, f"messages[{at}]") for at, item in enumerate(given))


def _message(item: Json, where: str) -> Message:
    if not isinstance(item, dict):
        raise BadRequest(f"{where} is not an object", parameter=where)
    role = item.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise BadRequest(
            f"{where}.role must be one of {', '.join(sorted(_ROLES))}", parameter=f"{where}.role"
        )
    content = item.get("content")
    if content is None and role == "assistant":
        return Message(role, "")
    if isinstance(content, str):
        return Message(role, content)
    if isinstance(content, list):
        return Message(role, "\n".join(_part(part, where) for part in content))
    raise BadRequest(f"{where}.content must be text", parameter=f"{where}.content")


def _part(part: Json, where: str) -> str:
    text = part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None
    if not isinstance(text, str):
        raise BadRequest(
            f"{where}.content: this model reads parts of type text only",
            parameter=f"{where}.content",
        )
    return text
