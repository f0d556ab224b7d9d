"""What it means when an endpoint answers with an error, and what is to be done about it.

Invariant: every error becomes one of four things: a `Retryable`, a parameter that the endpoint does
not know, a prompt that is too long, or an `AgentError` that names the remedy. What a node with
another key or endpoint may do all the same is told apart: NO_MODEL.

Source: the API reference at platform.openai.com (Error codes).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from node.agents import AgentError
from node.agents.overflow import read_overflow
from node.agents.refusal import is_refused_request
from node.agents.retry import read_retry_after
from node.prompt.shown import shorten
from protocol.events import Failure

if TYPE_CHECKING:
    from openai import APIStatusError

MESSAGE_SIZE_MAX = 500  # characters of an endpoint's own words in a detail
_RETRIED = frozenset((408, 409, 425, 429))  # and everything from 500 on
_NOT_FOR_THIS_NODE = frozenset((401, 402, 403, 404))
_NO_SUCH_MODEL = ("invalid model", "unknown model", "model not exist")  # where the code is no help
_UNKNOWN_PARAMETER = frozenset((400, 404, 415, 422, 501))


class Ability(Enum):
    """What not every endpoint can do: asked for by a parameter, and left out for good once that is
    rejected. In the words are what the various servers call it."""

    STREAM_USAGE = ("stream_options",)
    NEW_LIMIT = ("max_completion_tokens",)  # else the older max_tokens
    SCHEMA = (
        "response_format", "response format", "json_schema", "structured output", "guided_json",
        "requested parameters",
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Retryable(Exception):
    """A request that may be repeated."""

    detail: str
    retry_after_s: float | None = None
    is_too_many: bool = False  # 429
    is_unreachable: bool = False  # no connection at all: most likely the address is wrong
    is_away: bool = False  # unreachable, or all it says is that it cannot answer (5xx)


class Unable(Exception):
    """The endpoint does not know a parameter that this request had."""

    def __init__(self, ability: Ability) -> None:
        super().__init__(ability.value[0])
        self.ability = ability


def judge(
    fault: APIStatusError, sent: frozenset[Ability], url: str, model: str
) -> Retryable | Unable | AgentError:
    """What a response of 400 and above means. `sent` are the abilities that the request used."""
    status = fault.status_code
    code = fault.code or ""
    words = _words_of(fault)
    if code == "unknown_task":
        return AgentError(Failure.UNKNOWN_TASK, words)
    if told := _told_of_prompt(status, (code, str(fault.type)), words, fault.body):
        return told
    if status in _UNKNOWN_PARAMETER:
        for ability in Ability:
            if ability in sent and _names(ability, f"{fault.param} {words}".lower()):
                return Unable(ability)
    if code == "insufficient_quota":
        return AgentError(Failure.NO_MODEL, f"the account is used up: {words}")
    if status in _RETRIED or status >= 500:
        retry_after_s = read_retry_after(fault.response.headers)
        if status == 429:
            return Retryable(f"limits the rate (429): {words}", retry_after_s, is_too_many=True)
        return Retryable(f"answers {status}: {words}", retry_after_s, is_away=status >= 500)
    is_unknown = _is_unknown_model(status, code, fault.param, words)
    is_lacking = is_unknown or status in _NOT_FOR_THIS_NODE
    remedy = _remedy(status, is_unknown, url, model)
    return AgentError(Failure.NO_MODEL if is_lacking else Failure.BACKEND, f"{remedy} ({words})")


def judge_error(error: object) -> Retryable | AgentError:
    """What an error object means that came with a response of 200, or in the middle of a stream."""
    body = error if isinstance(error, Mapping) else {"message": error}
    words = one_line(str(body.get("message") or error))
    kinds = (str(body.get("code")), str(body.get("type")))
    return _told_of_prompt(0, kinds, words, body) or Retryable(f"broke off with an error: {words}")


def no_endpoint(url: str, detail: str) -> AgentError:
    """What answers is something else."""
    return AgentError(
        Failure.BACKEND,
        f"{url} is no OpenAI-compatible endpoint ({detail}): check OPENAI_BASE_URL",
    )


def _words_of(fault: APIStatusError) -> str:
    """The endpoint's own message, on one line; FastAPI's servers call it `detail`."""
    body = fault.body if isinstance(fault.body, Mapping) else {}
    return one_line(str(body.get("message") or body.get("detail") or fault.message))


def one_line(words: str) -> str:
    """The words without line ends, and not too many of them."""
    return shorten(" ".join(words.split()), MESSAGE_SIZE_MAX)


def _told_of_prompt(
    status: int, kinds: tuple[str, ...], words: str, body: object
) -> AgentError | None:
    """Something is wrong with what is asked: it is too long, or refused. `status` is 0 where there
    is none."""
    if is_refused_request(kinds, words):
        return AgentError(Failure.REFUSED, f"the endpoint refuses the prompt: {words}")
    return read_overflow(status, kinds, words, body)


def _names(ability: Ability, words: str) -> bool:
    return any(name in words for name in ability.value)


def _is_unknown_model(status: int, code: str, parameter: str | None, words: str) -> bool:
    """Whether the endpoint has no such model; most say so by a 404, some by a 400."""
    if code == "model_not_found" or (status == 404 and "model" in words.lower()):
        return True
    said = parameter == "model" or any(each in words.lower() for each in _NO_SUCH_MODEL)
    return said and status in _UNKNOWN_PARAMETER


def _remedy(status: int, is_unknown: bool, url: str, model: str) -> str:
    if status == 401:
        return "the endpoint refuses the key: check OPENAI_API_KEY"
    if status == 403:
        return f"this key may not use {model!r}: check OPENAI_API_KEY and OPENAI_MODEL"
    if status == 402:
        return "the account is used up: the endpoint wants to be paid"
    if is_unknown:
        return f"the endpoint has no model {model!r}: set OPENAI_MODEL to one it has"
    if status == 404:
        return f"no chat completions at {url}: check OPENAI_BASE_URL (often ends in /v1)"
    return f"the endpoint rejects the request with {status}"
