"""One chat completion: a single request, answered as a stream or at once.

Invariant: it ends with a whole `Reply`, or raises one of the errors of `rejection.py`; no silence
of the endpoint is longer than the settings allow, and no answer longer than ANSWER_SIZE_MAX.

The client's own retries are off, so that every 429 is seen by who asks. The `openai` package costs
half a second and 26 MiB, so it is imported at the first question, in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from node.agents import AgentError
from node.agents.answer import ANSWER_SIZE_MAX
from node.agents.count import Count
from node.agents.rejection import Ability, Retryable, judge, judge_error, no_endpoint
from node.agents.reply import Piece, Reply, read_chunk, read_completion
from node.agents.scratch import in_thread
from node.agents.settings import AgentSettings
from node.agents.thoughts import Thoughts
from node.legible import Legible, legible
from node.prompt.shown import Message
from protocol.events import Failure

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types.chat import ChatCompletionMessageParam

NEW_LIMIT_NAME, OLD_LIMIT_NAME = "max_completion_tokens", "max_tokens"
CONNECT_TIMEOUT_S = 10.0  # who answers no knock for so long is not there
TOOLS_MAX = 5  # functions that a model wants called, as far as they are named
_NEVER_TAKEN_ON = frozenset((501, 503, 529))  # and everything below 500 but a 408
_NO_KEY = "none"  # many local servers want no key, but the client does


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: `abilities` are those it may use, `tokens_out` is how long the answer may be (0:
    as long as it likes), `schema` is the form of the answer (None: text)."""

    messages: Sequence[Message]
    abilities: frozenset[Ability]
    tokens_out: int = 0
    schema: Mapping[str, object] | None = None

    @property
    def sent(self) -> frozenset[Ability]:
        """The abilities that the request does use."""
        unused = set()
        if not self.tokens_out:
            unused.add(Ability.NEW_LIMIT)
        if self.schema is None:
            unused.add(Ability.SCHEMA)
        return self.abilities - unused


class Completions:
    """The door of an endpoint with its model. Connections are kept between requests."""

    def __init__(self, settings: AgentSettings, url: str, trust_env: bool) -> None:
        self._settings = settings
        self._url = url
        self._trust_env = trust_env
        self._client: AsyncOpenAI | None = None
        self._connecting = asyncio.Lock()
        self._transport_error: type[Exception] = OSError
        self._connect_errors: tuple[type[Exception], ...] = (OSError,)

    async def connect(self) -> AsyncOpenAI:
        """Import the client and set it up, once; nothing is sent."""
        async with self._connecting:
            if self._client is None:
                self._client = await in_thread(self._make_client)
        return self._client

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def ask(self, asked: Asked, count: Count) -> Reply:
        """One request. A `Retryable` may be repeated, `Unable` without the parameter; an AgentError
        stays."""
        client = await self.connect()
        import openai

        try:
            if self._settings.stream:
                return await self._stream(client, asked, count)
            return await self._fetch(client, asked, count)
        except TimeoutError:
            raise Retryable(
                f"silent for {self._settings.request_timeout_s:g} s: is the model overloaded?"
            ) from None
        except openai.APIStatusError as fault:
            if _is_free(fault.status_code):
                count.refuse()
            raise judge(fault, asked.sent, self._url, self._settings.model) from None
        except openai.APIConnectionError as fault:
            cause = str(fault.__cause__ or fault) or type(fault.__cause__ or fault).__name__
            is_unreachable = isinstance(fault.__cause__, self._connect_errors)
            if is_unreachable:
                count.refuse()
            raise Retryable(
                f"cannot be reached ({cause}): check OPENAI_BASE_URL",
                is_unreachable=is_unreachable,
                is_away=is_unreachable,
            ) from None
        except openai.APIError as fault:
            raise judge_error(fault.body or fault.message) from None
        except self._transport_error as fault:
            raise Retryable(f"connection broke in mid-answer ({fault})") from None
        except ValueError as fault:  # JSON that is none
            raise Retryable(f"sent something that is not the protocol ({fault})") from None

    def _make_client(self) -> AsyncOpenAI:
        import openai

        # The client stands on httpx or on its successor, depending on its version; errors in
        # mid-stream reach us as the transport's own.
        transport = importlib.import_module(
            openai.DefaultAsyncHttpxClient.__mro__[1].__module__.partition(".")[0]
        )
        self._transport_error = transport.TransportError
        self._connect_errors = (transport.ConnectError, transport.ConnectTimeout)
        client = openai.AsyncOpenAI(
            base_url=self._url,
            api_key=self._settings.api_key or _NO_KEY,
            max_retries=0,
            # `ask` bounds every other silence itself.
            timeout=transport.Timeout(None, connect=CONNECT_TIMEOUT_S),
            http_client=openai.DefaultAsyncHttpxClient(timeout=None, trust_env=self._trust_env),
        )
        _ = client.chat.completions  # its modules load on first touch: still in this thread
        return client

    # -- at once -----------------------------------------------------------------------------------

    async def _fetch(self, client: AsyncOpenAI, asked: Asked, count: Count) -> Reply:
        async with asyncio.timeout(self._settings.request_timeout_s):
            whole = await client.chat.completions.create(
                model=self._settings.model,
                messages=_as_parameters(asked.messages),
                extra_body=_options(asked),
            )
        if isinstance(whole, str):  # the client checks no types
            raise no_endpoint(self._url, "its answer is no JSON")
        telling = _Telling(count)
        telling.take(read_completion(whole))
        return telling.end()

    # -- as a stream -------------------------------------------------------------------------------

    async def _stream(self, client: AsyncOpenAI, asked: Asked, count: Count) -> Reply:
        limit_s = self._settings.request_timeout_s
        now = asyncio.get_running_loop().time
        telling = _Telling(count)
        async with (
            asyncio.timeout(limit_s) as silence,
            contextlib.aclosing(self._pieces(client, asked)) as pieces,
        ):
            async for piece in pieces:
                silence.reschedule(now() + limit_s)
                telling.take(piece)
        reply = telling.end()
        if reply.finish_reason in ("", "error"):  # the second is OpenRouter's
            raise Retryable("ended its answer without a good finish_reason: it is not whole")
        return reply

    async def _pieces(self, client: AsyncOpenAI, asked: Asked) -> AsyncGenerator[Piece, None]:
        stream = await client.chat.completions.create(
            model=self._settings.model,
            messages=_as_parameters(asked.messages),
            stream=True,
            extra_body=_options(asked, stream=True),
        )
        async with stream:
            kind = stream.response.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind == "application/json":  # it streams nothing: here is the whole answer
                answer = json.loads(await stream.response.aread())
                if not isinstance(answer, dict) or not answer.keys() & {"choices", "error"}:
                    raise no_endpoint(self._url, f"{kind}, but no chat completion")
                if error := answer.get("error"):
                    raise judge_error(error)
                yield read_completion(answer)
                return
            if kind == "text/html":
                raise no_endpoint(self._url, kind)
            async for chunk in stream:
                yield read_chunk(chunk)


class _Telling:
    """An answer on its way."""

    def __init__(self, count: Count) -> None:
        self._count = count
        self._legible = Legible()
        self._thoughts = Thoughts()
        self._text: list[str] = []
        self._refusal: list[str] = []
        self._tools: list[str] = []
        self._size = 0
        self._finish_reason = ""
        self._used: tuple[int, int] | None = None

    def take(self, piece: Piece) -> None:
        """The next piece; AgentError if that makes the answer too long."""
        self._used = piece.used or self._used
        self._finish_reason = piece.finish_reason or self._finish_reason
        self._size += len(piece.text) + len(piece.thought) + len(piece.refusal)
        if self._size > ANSWER_SIZE_MAX:
            raise AgentError(
                Failure.OUTPUT,
                f"the answer is over {ANSWER_SIZE_MAX} characters: ask for less at once",
            )
        self._count.count(piece.thought + piece.refusal)
        self._add(self._legible.feed(piece.text))
        if piece.refusal:
            self._refusal.append(piece.refusal)
        if piece.tool and len(self._tools) < TOOLS_MAX:
            self._tools.append(legible(piece.tool))

    def end(self) -> Reply:
        """The whole answer; what it used is counted."""
        if self._used is not None:
            self._count.spend(*self._used)
        self._add(self._legible.close())
        self._hear(self._thoughts.close())
        refusal = legible("".join(self._refusal))
        return Reply("".join(self._text), self._finish_reason, refusal, tuple(self._tools))

    def _add(self, text: str) -> None:
        self._count.count(text)  # before a thought in it is left out
        self._hear(self._thoughts.feed(text))

    def _hear(self, text: str) -> None:
        if text:
            self._text.append(text)
            self._count.hear(text)


def _is_free(status: int) -> bool:
    """Whether an endpoint that answers so has not begun. Behind a time-out or a broken gateway a
    model may have written all the same, and somebody pays for it."""
    return status in _NEVER_TAKEN_ON or (status < 500 and status != 408)


def _options(asked: Asked, stream: bool = False) -> dict[str, object]:
    """The parameters that not every endpoint knows, and how long the answer may be, under the name
    that this one knows for it."""
    sent = asked.sent
    options: dict[str, object] = {}
    if stream and Ability.STREAM_USAGE in sent:
        options["stream_options"] = {"include_usage": True}
    if asked.tokens_out:
        name = NEW_LIMIT_NAME if Ability.NEW_LIMIT in sent else OLD_LIMIT_NAME
        options[name] = asked.tokens_out
    if Ability.SCHEMA in sent:
        options["response_format"] = asked.schema
    return options


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
