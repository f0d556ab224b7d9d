"""The simulated model as an HTTP server: chat completions and models, in OpenAI's form.

Invariant: what it answers, when, and with which fault follows from its knobs and from the order of
requests with the same key alone; nothing is answered that the book does not hold.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections import OrderedDict, deque
from dataclasses import asdict, dataclass
from typing import Protocol

from aiohttp import web

from node.model.faults import (
    REFUSAL,
    RETRY_AFTER_S,
    SLOW_FACTOR,
    STATUSES_5XX,
    Faults,
    RateLimit,
    draw_faults,
    garbage,
    randomness_of,
)
from node.model.knobs import MODELS, ModelKnobs
from node.model.latency import key_of, latency_s, tokens_of
from node.model.wire import (
    BadRequest,
    ChatRequest,
    Stamp,
    chunk_body,
    completion_body,
    event,
    models_body,
    read_body,
    usage_body,
)
from node.model.wording import argued, files_text, groups_text, rest_of
from node.prompt.follow_up import read_kept
from node.prompt.opening import Request, read_request

SERVED_MODEL = "simulated"  # whichever model the knobs name
REQUEST_SIZE_MAX = 4 * 1024 * 1024
KEYS_MAX = 50_000  # keys whose requests are counted; the one unused for longest is forgotten
CALLS_MAX = 100_000  # of which the server keeps a record; then the oldest go
CHUNKS_MAX = 40  # of a streamed answer
CHUNK_INTERVAL_MIN_S = 0.02
HANG_MAX_S = 3_600.0
TOKEN_LENGTH = 4  # characters of a token, about
SHUTDOWN_TIMEOUT_S = 0.1  # requests still open when the server stops are cut off


class Book(Protocol):
    """Where the answers come from."""

    def answer(self, path: str, prompt: str) -> str | None:
        """The content of the file, None if there is no worked answer."""

    def wrong_answer(self, path: str, prompt: str, seed: int) -> str | None:
        """Content that looks right and is not."""

    def answer_question(self, question: str) -> str | None:
        """The answer to a question, None if there is no worked one."""

    def answer_wrongly(self, question: str, seed: int) -> str | None:
        """An answer that sounds right and is not, None if there is none."""


class RunningModel:
    """A server that listens at `url` until `close`."""

    def __init__(self, url: str, runner: web.AppRunner, server: _Server) -> None:
        self.url = url
        self._runner = runner
        self._server = server

    @property
    def requests(self) -> int:
        """How many chat completions were asked for so far, refused ones included."""
        return self._server.requests

    async def close(self) -> None:
        """Stop listening and cut off what is still open."""
        await self._runner.cleanup()


async def start_model(
    knobs: ModelKnobs,
    host: str = "127.0.0.1",
    port: int = 0,
    book: Book | None = None,
    bound: socket.socket | None = None,
) -> RunningModel:
    """Start the simulated model in this process, at an address or on a socket that is bound
    already; OSError if the port is taken."""
    server = _Server(knobs, book or _packaged_book())
    application = web.Application(client_max_size=REQUEST_SIZE_MAX)
    application.router.add_get("/v1/models", server.list_models)
    if knobs.keep_calls:
        application.router.add_get("/v1/calls", server.list_calls)
    application.router.add_post("/v1/chat/completions", server.complete)
    # A client that goes away cancels its request: an aborted agent must cost nothing more.
    runner = web.AppRunner(
        application,
        handler_cancellation=True,
        access_log=None,
        shutdown_timeout=SHUTDOWN_TIMEOUT_S,
    )
    await runner.setup()
    try:
        site = web.SockSite(runner, bound) if bound else web.TCPSite(runner, host, port)
        await site.start()
    except OSError:
        await runner.cleanup()
        raise
    bound_port = runner.addresses[0][1]
    shown_host = f"[{host}]" if ":" in host else host
    return RunningModel(f"http://{shown_host}:{bound_port}/v1", runner, server)


def _packaged_book() -> Book:
    from node.model import book

    return book


@dataclass(frozen=True, slots=True)
class _Call:
    """A chat completion that was asked for: when, in seconds since the server began, and the status
    it got, 200 also where the answer then hangs or breaks off."""

    at_s: float
    status: int


@dataclass(frozen=True, slots=True)
class _Turn:
    """A request that will be answered: what with, and how."""

    chat: ChatRequest
    stamp: Stamp
    text: str
    faults: Faults
    latency_s: float
    tokens: tuple[int, int]
    finish_reason: str = "stop"

    @property
    def refusal(self) -> str:
        """What the model says in the place of an answer."""
        return REFUSAL if self.faults.refuse else ""


class _Server:
    def __init__(self, knobs: ModelKnobs, book: Book) -> None:
        self.requests = 0
        self._knobs = knobs
        self._book = book
        self._limit = RateLimit(knobs.requests_per_second) if knobs.requests_per_second else None
        self._attempts: OrderedDict[str, int] = OrderedDict()
        self._started = int(time.time())
        self._begun = time.monotonic()
        self._calls: deque[_Call] = deque(maxlen=CALLS_MAX if knobs.keep_calls else 0)
        self._models = (SERVED_MODEL, *(f"simulated-{name}" for name in MODELS))

    # -- the doors -------------------------------------------------------------------------------

    async def list_models(self, request: web.Request) -> web.Response:
        """GET /v1/models"""
        return web.json_response(models_body(self._models, self._started))

    async def list_calls(self, request: web.Request) -> web.Response:
        """GET /v1/calls: what was asked of this server, which no real endpoint tells. Only here is
        it known how many calls a second arrived, and how many of them were refused."""
        return web.json_response({"calls": [asdict(call) for call in self._calls]})

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/chat/completions"""
        begun = asyncio.get_running_loop().time()
        self.requests += 1
        at_s = time.monotonic() - self._begun
        try:
            chat = read_body(await _body_of(request))
            turn = self._prepare(chat, begun)
        except BadRequest as refusal:
            self._calls.append(_Call(at_s, refusal.status))
            return _refusal(refusal)
        self._calls.append(_Call(at_s, 200))
        if turn.faults.hang:
            await asyncio.sleep(HANG_MAX_S)
        if chat.stream:
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            # A client that hangs up while it is written to is no fault of this server's.
            with contextlib.suppress(ConnectionError):
                await self._stream(request, response, turn, begun)
            return response
        await _sleep_until(begun + turn.latency_s)
        if turn.faults.break_stream:
            return _cut(request)
        usage = usage_body(*turn.tokens)
        whole = completion_body(turn.stamp, turn.text, turn.finish_reason, usage, turn.refusal)
        return web.json_response(whole)

    # -- deciding --------------------------------------------------------------------------------

    def _prepare(self, chat: ChatRequest, now: float) -> _Turn:
        """Everything about the answer, decided at once; BadRequest if there is none."""
        model = self._figures_of(chat.model)
        pause_s = self._limit.wait_s(now) if self._limit else 0.0
        if pause_s:
            raise _TooMany("Rate limit reached for requests per second", pause_s)
        asked = read_request(chat.messages)
        prompt = "\n\n".join(turn.content for turn in chat.messages if turn.role == "user")
        text = self._answer(asked, prompt, chat.as_json)
        key = key_of(asked.paths, asked.question or " ".join(asked.answers))
        attempt = self._count(key)
        faults = draw_faults(self._knobs, key, attempt)
        if faults.http_429:
            raise _TooMany("Rate limit reached (drawn)", RETRY_AFTER_S / self._knobs.speed)
        if faults.http_5xx:
            status = randomness_of(self._knobs, key, attempt, "status").choice(STATUSES_5XX)
            raise BadRequest("The server had an error (drawn)", status=status, code="server_error")
        if faults.overflow:
            raise _overflow(sum(len(message.content) for message in chat.messages))
        if faults.garbage:
            text = garbage(asked.paths, randomness_of(self._knobs, key, attempt, "words"))
        elif faults.wrong:
            seed = randomness_of(self._knobs, key, attempt, "mutant").getrandbits(31)
            text = self._answer(asked, prompt, chat.as_json, seed)
        if faults.empty or faults.refuse:
            text = ""
        text = rest_of(text, read_kept(chat.messages))
        drawn_s = latency_s(model, self._knobs.seed, key, attempt, len(asked.paths))
        read, written = tokens_of(model, prompt, len(asked.paths))
        most = written if chat.limit is None else min(written, chat.limit)
        if faults.truncate and text:
            most = min(most, max(1, written // 2))
        is_cut = most < written
        return _Turn(
            chat,
            Stamp(f"chatcmpl-simulated-{self.requests}", int(time.time()), f"simulated-{model}"),
            text[: len(text) * most // written] if is_cut else text,
            faults,
            drawn_s * (SLOW_FACTOR if faults.slow else 1.0) / self._knobs.speed,
            (read, most),
            "length" if is_cut else "stop",
        )

    def _figures_of(self, name: str) -> str:
        if name not in self._models:
            raise BadRequest(
                f"The model `{name}` does not exist: this endpoint is simulated and has "
                f"{', '.join(self._models)}",
                status=404,
                parameter="model",
                code="model_not_found",
            )
        return self._knobs.model if name == SERVED_MODEL else name.removeprefix("simulated-")

    def _count(self, key: str) -> int:
        """How many requests with this key came before this one."""
        attempt = self._attempts.pop(key, 0)
        self._attempts[key] = attempt + 1
        if len(self._attempts) > KEYS_MAX:
            self._attempts.popitem(last=False)
        return attempt

    def _answer(self, asked: Request, prompt: str, as_json: bool, seed: int | None = None) -> str:
        """The right answer, from the book; a judge's, from the answers' words. With a `seed` it is
        plausible and wrong, where the book knows how; judges are right."""
        if asked.answers:
            return groups_text(asked.answers, as_json)
        if not asked.paths:
            answer = self._book.answer_question(asked.question)
            if answer is None:
                raise _unknown("this question")
            wrong = None if seed is None else self._book.answer_wrongly(asked.question, seed)
            return argued(asked, wrong or answer)
        contents = {}
        for path in asked.paths:
            content = self._book.answer(path, prompt)
            if content is None:
                raise _unknown(path)
            wrong = None if seed is None else self._book.wrong_answer(path, prompt, seed)
            contents[path] = content if wrong is None else wrong
        return files_text(contents, as_json)

    # -- answering -------------------------------------------------------------------------------

    async def _stream(
        self, request: web.Request, response: web.StreamResponse, turn: _Turn, begun: float
    ) -> None:
        """The answer in pieces, evenly over the latency."""
        await response.prepare(request)
        await response.write(event(chunk_body(turn.stamp, {"role": "assistant"}, None)))
        pieces = _split(turn.text, turn.latency_s)
        for number, piece in enumerate(pieces, 1):
            await _sleep_until(begun + turn.latency_s * number / len(pieces))
            if turn.faults.break_stream and number > len(pieces) // 2:
                _cut(request)
                return
            await response.write(event(chunk_body(turn.stamp, {"content": piece}, None)))
        if turn.refusal:
            await response.write(event(chunk_body(turn.stamp, {"refusal": turn.refusal}, None)))
        await response.write(event(chunk_body(turn.stamp, {}, turn.finish_reason)))
        if turn.chat.include_usage:
            last = chunk_body(turn.stamp, {}, None)
            await response.write(event({**last, "choices": [], "usage": usage_body(*turn.tokens)}))
        await response.write(b"data: [DONE]\n\n")
        await response.write_eof()


class _TooMany(BadRequest):
    """429, with the time to come back."""

    def __init__(self, message: str, pause_s: float) -> None:
        super().__init__(message, status=429, code="rate_limit_exceeded")
        self.pause_s = pause_s


def _unknown(what: str) -> BadRequest:
    return BadRequest(
        f"the simulated model has no worked answer for {what}: set OPENAI_BASE_URL, OPENAI_API_KEY "
        "and OPENAI_MODEL to a real model and use 'agent: openai'",
        status=404,
        code="unknown_task",
    )


def _overflow(size: int) -> BadRequest:
    """In the words of OpenAI's servers, as if the model held three quarters of this prompt."""
    tokens = max(4, size // TOKEN_LENGTH)
    return BadRequest(
        f"This model's maximum context length is {tokens * 3 // 4} tokens. However, your messages "
        f"resulted in {tokens} tokens. Please reduce the length of the messages. (drawn)",
        parameter="messages",
        code="context_length_exceeded",
    )


def _refusal(refusal: BadRequest) -> web.Response:
    headers = {}
    if isinstance(refusal, _TooMany):
        # Whole seconds are all that Retry-After can say; the second header is OpenAI's own.
        headers["Retry-After"] = str(max(1, round(refusal.pause_s)))
        headers["retry-after-ms"] = str(max(1, round(refusal.pause_s * 1000)))
    return web.json_response(refusal.body, status=refusal.status, headers=headers)


async def _body_of(request: web.Request) -> bytes:
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise BadRequest(
            f"The body is over {REQUEST_SIZE_MAX} bytes: shorten the messages", status=413
        ) from None


def _split(text: str, whole_s: float) -> list[str]:
    """The text in pieces of equal length, no more than the latency has room for."""
    count = max(1, min(CHUNKS_MAX, len(text), int(whole_s / CHUNK_INTERVAL_MIN_S)))
    size = max(1, -(-len(text) // count))
    return [text[at : at + size] for at in range(0, len(text), size)] or [""]


async def _sleep_until(moment: float) -> None:
    left_s = moment - asyncio.get_running_loop().time()
    if left_s > 0.0:
        await asyncio.sleep(left_s)


def _cut(request: web.Request) -> web.Response:
    """Drop the connection as a network would, in the middle of the answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
