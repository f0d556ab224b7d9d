"""One request to an OpenAI-compatible endpoint, repeated within bounds until it is answered.

Invariant: `ask` ends with a whole `Reply` or raises `AgentError`; it sends at most `tries_max`
requests, and each of them is counted in the usage, answered or not.

The client's own retries are off, so that every 429 is seen here. The `openai` package costs half a
second and 26 MiB, so it is imported at the first question, in a thread.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import json
import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from node.agents import AgentError, Progress
from node.agents.answer import ANSWER_SIZE_MAX
from node.agents.permits import FREE, NO_PRICES, Endpoint, Meter, Permit, Prices
from node.agents.prices import PRICE_MAX, prices_of
from node.agents.retry import RETRY_AFTER_MAX_S, read_retry_after, wait_s
from node.agents.scratch import in_thread
from node.agents.settings import OPENAI_URL, AgentSettings
from node.legible import Legible, legible
from node.model.latency import READ_MAX
from node.prompt import Message, shorten
from protocol.events import Failure
from protocol.jobs import Usage

if TYPE_CHECKING:
    from openai import APIError, APIStatusError, AsyncOpenAI
    from openai.types import CompletionUsage
    from openai.types.chat import ChatCompletionMessageParam

log = logging.getLogger(__name__)

ANSWER_MIN = 256  # tokens: with less room for an answer it is not worth asking
MESSAGE_OVERHEAD = 16  # tokens that a message costs beside its words
OLD_LIMIT_NAME = "max_tokens"
TOKEN_LENGTH = 4  # characters of a token, about, where nobody has counted
TOKENS_MAX = 2**40  # of one answer, as far as an endpoint's word is believed
MESSAGE_SIZE_MAX = 500  # characters of an endpoint's own words in a detail
UNREACHABLE_TRIES_MAX = 4  # requests to where nobody listens: 3.5 s of back-off at most
_RETRIED = frozenset((408, 409, 425, 429))  # and everything from 500 on
_NO_KEY = "none"  # many local servers want no key, but the client does


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer. `finish_reason` is the endpoint's: stop, length, content_filter, ..."""

    text: str
    finish_reason: str


@dataclass(frozen=True, slots=True)
class _Fault(Exception):
    """A request that may be repeated."""

    detail: str
    retry_after_s: float | None = None
    is_too_many: bool = False  # 429
    is_unreachable: bool = False  # no connection at all: most likely the address is wrong


class _Count:
    """What one request used, as far as it is known: an endpoint says so at the end of its answer,
    and of a request that is broken off before there is only an estimate."""

    def __init__(
        self,
        messages: Sequence[Message],
        hear: Callable[[str], None],
        spend: Callable[[Usage], None],
        simulated: bool,
    ) -> None:
        self._asked = sum(len(message.content) for message in messages)
        self._heard = 0
        self._hear = hear
        self._spend = spend
        self._simulated = simulated
        self._written = 0
        self.tokens_in: int | None = None  # until the endpoint tells

    @property
    def tokens_out(self) -> int:
        """What was written: no token is shorter than a byte."""
        return self._written if self.tokens_in is not None else self._heard

    def hear(self, text: str) -> None:
        self._heard += len(text.encode())
        self._hear(text)

    def spend(self, usage: Usage) -> None:
        self.tokens_in, self._written = usage.tokens_in, usage.tokens_out
        self._spend(usage)

    def close(self) -> None:
        """The request is broken off: count what was sent and what came."""
        if self.tokens_in is None:
            read, written = self._asked // TOKEN_LENGTH, self._heard // TOKEN_LENGTH
            self._spend(Usage(0, read, written, simulated=self._simulated))


class ChatEndpoint:
    """An endpoint with its model. The connections are kept between questions."""

    def __init__(
        self,
        settings: AgentSettings,
        *,
        simulated: bool = False,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        randomness: random.Random | None = None,
    ) -> None:
        self._settings = settings
        self._simulated = simulated
        self._sleep = sleep
        self._randomness = randomness or random.Random()
        self._url = settings.base_url or OPENAI_URL
        # All nodes call it by this, whatever their keys are.
        name = hashlib.sha256(f"{self._url} {settings.model}".encode()).hexdigest()[:12]
        self._endpoint = Endpoint(name, round(settings.rate * 1_000))
        self._client: AsyncOpenAI | None = None
        self._connecting = asyncio.Lock()
        self._transport_error: type[Exception] = OSError
        self._connect_error: type[Exception] = OSError
        self._streams_usage = True  # until the endpoint rejects `stream_options`
        self._limit_name = "max_completion_tokens"  # until it knows only the older name

    async def ask(
        self,
        messages: Sequence[Message],
        hear: Callable[[str], None],
        restart: Callable[[], None],
        progress: Progress,
    ) -> Reply:
        """Put the conversation to the model. `hear` gets the text as it arrives, `restart` is told
        when what was heard so far is void because a request broke off; `progress` counts what was
        used, and asks for leave where there is a budget."""
        self._check_settings()
        client = await self._connect()
        tries = 0
        while True:
            tries += 1
            permit = await self._permit(messages, progress.meter)
            progress.spend(Usage(calls=1, simulated=self._simulated))
            count = _Count(messages, hear, progress.spend, self._simulated)
            try:
                return await self._request(client, messages, permit, count)
            except asyncio.CancelledError:
                count.close()
                raise
            except _Fault as fault:
                restart()
                if fault.is_too_many and progress.meter is not None:
                    progress.meter.refused(self._endpoint, fault.retry_after_s or 0.0)
                failed = fault
            finally:
                permit.settle(count.tokens_in, count.tokens_out)
            await self._wait(tries, failed)

    async def _permit(self, messages: Sequence[Message], meter: Meter | None) -> Permit:
        """Leave for one request. A token is a byte at least, so this many are read at most."""
        if meter is None:
            return FREE
        if not meter.counts:
            return await meter.ask(self._endpoint)
        tokens_in = sum(len(each.content.encode()) + MESSAGE_OVERHEAD for each in messages)
        if self._simulated:  # its counts are measured means, and none of the words
            tokens_in = max(tokens_in, READ_MAX)
        most = self._settings.answer_tokens_max
        least = min(ANSWER_MIN, most)
        return await meter.ask(self._endpoint, tokens_in, least, most, self._prices())

    def _prices(self) -> Prices:
        """What the model costs. Where nobody knows, no job that limits money was taken."""
        if self._simulated:
            return NO_PRICES
        return prices_of(self._settings.model, self._url) or Prices(PRICE_MAX, PRICE_MAX)

    async def prepare(self) -> None:
        """Import the client and set it up; nothing is sent."""
        await self._connect()

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    # -- before ----------------------------------------------------------------------------------

    def _check_settings(self) -> None:
        if not self._settings.base_url and not self._settings.api_key:
            raise AgentError(
                Failure.BACKEND,
                "no model to ask: set OPENAI_API_KEY, or OPENAI_BASE_URL for a server of your own",
            )
        if not self._settings.model:
            raise AgentError(
                Failure.BACKEND, f"no model chosen: set OPENAI_MODEL to one that {self._url} has"
            )

    async def _connect(self) -> AsyncOpenAI:
        async with self._connecting:
            if self._client is None:
                self._client = await in_thread(self._make_client)
        return self._client

    def _make_client(self) -> AsyncOpenAI:
        import openai

        # The client stands on httpx or on its successor, depending on its version; errors in
        # mid-stream reach us as the transport's own.
        transport = importlib.import_module(
            openai.DefaultAsyncHttpxClient.__mro__[1].__module__.partition(".")[0]
        )
        self._transport_error = transport.TransportError
        self._connect_error = transport.ConnectError
        client = openai.AsyncOpenAI(
            base_url=self._url,
            api_key=self._settings.api_key or _NO_KEY,
            max_retries=0,
            timeout=None,  # `_request` bounds every silence itself
            # The simulated model is on this machine: no proxy of the environment may get between.
            http_client=openai.DefaultAsyncHttpxClient(timeout=None, trust_env=not self._simulated),
        )
        _ = client.chat.completions  # its modules load on first touch: still in this thread
        return client

    # -- one request -----------------------------------------------------------------------------

    async def _request(
        self,
        client: AsyncOpenAI,
        messages: Sequence[Message],
        permit: Permit,
        count: _Count,
    ) -> Reply:
        """One request; a _Fault may be retried, an AgentError may not."""
        import openai

        try:
            if self._settings.stream:
                return await self._stream(client, messages, permit, count)
            return await self._fetch(client, messages, permit, count)
        except TimeoutError:
            raise _Fault(
                f"silent for {self._settings.request_timeout_s:g} s: is the model overloaded?"
            ) from None
        except openai.APIStatusError as fault:
            raise self._judge(fault) from None
        except openai.APIConnectionError as fault:
            cause = str(fault.__cause__ or fault) or type(fault).__name__
            raise _Fault(
                f"cannot be reached ({cause}): check OPENAI_BASE_URL",
                is_unreachable=isinstance(fault.__cause__, self._connect_error),
            ) from None
        except openai.APIError as fault:
            raise _Fault(f"broke off with an error: {_words_of(fault)}") from None
        except self._transport_error as fault:
            raise _Fault(f"connection broke in mid-answer ({fault})") from None
        except ValueError as fault:  # JSON that is none
            raise _Fault(f"sent something that is not the protocol ({fault})") from None

    async def _fetch(
        self,
        client: AsyncOpenAI,
        messages: Sequence[Message],
        permit: Permit,
        count: _Count,
    ) -> Reply:
        async with asyncio.timeout(self._settings.request_timeout_s):
            whole = await client.chat.completions.create(
                model=self._settings.model,
                messages=_as_parameters(messages),
                extra_body=self._limited(permit),
            )
        # The client checks no types: an endpoint of another make may leave anything out.
        if isinstance(whole, str):
            raise self._no_endpoint("its answer is no JSON")
        self._spend_tokens(whole.usage, count.spend)
        choices = whole.choices or []
        if not choices or choices[0].message is None:
            raise _Fault("answered without any choice")
        text = legible(_text_of(choices[0].message.content))
        if len(text) > ANSWER_SIZE_MAX:
            raise _too_long()
        count.hear(text)
        return Reply(text, choices[0].finish_reason or "")

    async def _stream(
        self,
        client: AsyncOpenAI,
        messages: Sequence[Message],
        permit: Permit,
        count: _Count,
    ) -> Reply:
        limit_s = self._settings.request_timeout_s
        now = asyncio.get_running_loop().time
        clean = Legible()
        pieces: list[str] = []
        size = 0
        finish_reason = ""
        usage: CompletionUsage | None = None
        async with asyncio.timeout(limit_s) as silence:
            stream = self._chunks(client, messages, permit)
            async for piece, reason, spent in stream:
                silence.reschedule(now() + limit_s)
                finish_reason = reason or finish_reason
                usage = spent or usage
                size += len(piece)
                if size > ANSWER_SIZE_MAX:
                    await stream.aclose()
                    raise _too_long()
                if text := clean.feed(piece):
                    pieces.append(text)
                    count.hear(text)
        self._spend_tokens(usage, count.spend)
        if not finish_reason:
            raise _Fault("ended its answer without a finish_reason: it is not whole")
        if text := clean.close():
            pieces.append(text)
            count.hear(text)
        return Reply("".join(pieces), finish_reason)

    async def _chunks(
        self, client: AsyncOpenAI, messages: Sequence[Message], permit: Permit
    ) -> AsyncGenerator[tuple[str, str, CompletionUsage | None], None]:
        """(text, finish reason, usage) of each chunk."""
        parameters = _as_parameters(messages)
        completions = client.chat.completions
        if self._streams_usage:
            stream = await completions.create(
                model=self._settings.model,
                messages=parameters,
                stream=True,
                stream_options={"include_usage": True},
                extra_body=self._limited(permit),
            )
        else:
            stream = await completions.create(
                model=self._settings.model,
                messages=parameters,
                stream=True,
                extra_body=self._limited(permit),
            )
        async with stream:
            kind = stream.response.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind == "application/json":  # it streams nothing: here is the whole answer
                answer = json.loads(await stream.response.aread())
                if not isinstance(answer, dict) or not answer.keys() & {"choices", "error"}:
                    raise self._no_endpoint(f"{kind}, but no chat completion")
                yield _whole_of(answer)
                return
            if kind == "text/html":
                raise self._no_endpoint(kind)
            async for chunk in stream:
                choice = chunk.choices[0] if chunk.choices else None
                delta = choice.delta if choice else None
                text = _text_of(delta.content if delta else None)
                yield text, (choice.finish_reason if choice else None) or "", chunk.usage

    def _limited(self, permit: Permit) -> dict[str, int] | None:
        """How long the answer may be, under the name that the endpoint knows for it."""
        if not permit.tokens_out:
            return None
        return {self._limit_name: permit.tokens_out}

    def _spend_tokens(self, usage: CompletionUsage | None, spend: Callable[[Usage], None]) -> None:
        if usage is not None:
            spend(
                Usage(
                    tokens_in=_tokens_of(getattr(usage, "prompt_tokens", None)),
                    tokens_out=_tokens_of(getattr(usage, "completion_tokens", None)),
                    simulated=self._simulated,
                )
            )

    # -- after a failure -------------------------------------------------------------------------

    def _judge(self, fault: APIStatusError) -> Exception:
        """What a refusal means: a _Fault to be retried, or an AgentError that names the remedy."""
        status = fault.status_code
        words = _words_of(fault)
        code = fault.code or ""
        if code == "unknown_task":
            return AgentError(Failure.UNKNOWN_TASK, words)
        if status == 400 and self._streams_usage and "stream_options" in words:
            self._streams_usage = False
            return _Fault("does not know stream_options", retry_after_s=0.0)
        if status == 400 and self._limit_name in words and self._limit_name != OLD_LIMIT_NAME:
            self._limit_name = OLD_LIMIT_NAME
            return _Fault("does not know max_completion_tokens", retry_after_s=0.0)
        if code == "insufficient_quota":
            return AgentError(Failure.BACKEND, f"the account is used up: {words}")
        if status in _RETRIED or status >= 500:
            retry_after_s = read_retry_after(fault.response.headers)
            if status == 429:
                log.warning("! %s limits the rate (429): %s", self._url, words)
            return _Fault(f"answers {status}: {words}", retry_after_s, is_too_many=status == 429)
        model = self._settings.model
        if status == 401:
            remedy = "the endpoint refuses the key: check OPENAI_API_KEY"
        elif status == 403:
            remedy = f"this key may not use {model!r}: check OPENAI_API_KEY and OPENAI_MODEL"
        elif status == 404 and (code == "model_not_found" or "model" in words.lower()):
            remedy = f"the endpoint has no model {model!r}: set OPENAI_MODEL to one it has"
        elif status == 404:
            remedy = (
                f"no chat completions at {self._url}: check OPENAI_BASE_URL (often ends in /v1)"
            )
        else:
            remedy = f"the endpoint rejects the request with {status}"
        return AgentError(Failure.BACKEND, f"{remedy} ({words})")

    def _no_endpoint(self, detail: str) -> AgentError:
        return AgentError(
            Failure.BACKEND,
            f"{self._url} is no OpenAI-compatible endpoint ({detail}): check OPENAI_BASE_URL",
        )

    async def _wait(self, tries: int, fault: _Fault) -> None:
        """Sleep before the next try, or give up with a clear account."""
        settings = self._settings
        tries_max = settings.tries_max
        if fault.is_unreachable:
            tries_max = min(tries_max, UNREACHABLE_TRIES_MAX)
        if tries >= tries_max:
            raise AgentError(
                Failure.BACKEND, f"{self._url} {fault.detail}; gave up after {tries} requests"
            )
        if fault.retry_after_s is not None and fault.retry_after_s > RETRY_AFTER_MAX_S:
            raise AgentError(
                Failure.BACKEND,
                f"{self._url} {fault.detail}; it asks to wait {fault.retry_after_s:.0f} s, "
                f"more than the {RETRY_AFTER_MAX_S:.0f} s that are waited at most",
            )
        pause_s = wait_s(
            tries,
            settings.backoff_first_s,
            settings.backoff_max_s,
            fault.retry_after_s,
            self._randomness,
        )
        log.info("> again in %.2f s: %s %s", pause_s, self._url, fault.detail)
        await self._sleep(pause_s)


def _as_parameters(messages: Sequence[Message]) -> list[ChatCompletionMessageParam]:
    parameters: list[ChatCompletionMessageParam] = []
    for message in messages:
        if message.role == "system":
            parameters.append({"role": "system", "content": message.content})
        elif message.role == "assistant":
            parameters.append({"role": "assistant", "content": message.content})
        else:
            assert message.role == "user"
            parameters.append({"role": "user", "content": message.content})
    return parameters


def _whole_of(answer: dict[str, Any]) -> tuple[str, str, CompletionUsage | None]:
    """(text, finish reason, usage) of a chat completion that was asked for as a stream. _Fault if
    it tells of an error, ValueError if it is not whole."""
    from openai.types import CompletionUsage

    if error := answer.get("error"):
        said = error.get("message") if isinstance(error, dict) else error
        raise _Fault(f"answers with an error: {_one_line(str(said))}")
    try:
        choice = answer["choices"][0]
        text = _text_of(choice["message"]["content"])
        usage = answer.get("usage")
        spent = CompletionUsage.model_construct(**usage) if isinstance(usage, dict) else None
        return text, str(choice.get("finish_reason") or ""), spent
    except (KeyError, IndexError, TypeError, AttributeError):
        raise ValueError("JSON, but no chat completion") from None


def _text_of(content: object) -> str:
    """The client checks no types: what is no text is none."""
    return content if isinstance(content, str) else ""


def _tokens_of(count: object) -> int:
    """The endpoint's figure if it is a number that can be meant, else 0."""
    return count if type(count) is int and 0 <= count <= TOKENS_MAX else 0


def _words_of(fault: APIError) -> str:
    """The endpoint's own message, on one line."""
    body = fault.body
    said = body.get("message") if isinstance(body, dict) else None
    return _one_line(str(said or fault.message))


def _one_line(words: str) -> str:
    return shorten(" ".join(words.split()), MESSAGE_SIZE_MAX)


def _too_long() -> AgentError:
    return AgentError(
        Failure.OUTPUT, f"the answer is over {ANSWER_SIZE_MAX} characters: ask for less at once"
    )
