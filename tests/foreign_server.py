"""An endpoint that is not ours, and an agent that asks it: the standard library's HTTP server in a
thread plays responses written down by hand, as other makes of server send them."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from agent_setup import ADD, assigned, quick

from node.agents import AgentError, Progress
from node.agents.chat import ChatEndpoint
from node.agents.openai_agent import OpenAIAgent
from protocol.effects import Assignment
from protocol.jobs import Usage

MODEL = "local-llm"
FENCED = f"Here you are.\n\n```python path=add.py\n{ADD}```\n"
Play = Callable[[BaseHTTPRequestHandler], None]
Always = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]


class ForeignServer:
    """Plays its responses in order, one for each request, and keeps what was asked; or answers all
    requests in one way, by what they ask."""

    def __init__(self, *plays: Play, always: Always | None = None) -> None:
        self.asked: list[dict[str, object]] = []
        self.keys: list[str] = []
        self._plays = list(plays)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.asked.append(json.loads(body))
                outer.keys.append(self.headers["Authorization"])
                assert self.path == "/api/v1/chat/completions"
                if always is not None:
                    always(self, json.loads(body))
                else:
                    outer._plays.pop(0)(self)

            def log_message(self, format: str, *arguments: object) -> None:
                """Tests are quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/api/v1"

    def said(self, request: int) -> list[dict[str, str]]:
        """The messages of this request."""
        messages = self.asked[request]["messages"]
        assert isinstance(messages, list)
        return messages

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


Foreign = Callable[..., ForeignServer]


def unpriced(calls: int, tokens_in: int = 0, tokens_out: int = 0) -> Usage:
    """What the agent of a `Bench` has used: nobody knows what its model costs."""
    tokens = tokens_in + tokens_out
    return Usage(calls, tokens_in, tokens_out, unpriced=tokens, model=MODEL)


def foreign_servers() -> Iterator[Foreign]:
    """A fixture: starts servers with the given plays; they are closed after the test."""
    servers: list[ForeignServer] = []

    def start(*plays: Play, always: Always | None = None) -> ForeignServer:
        servers.append(ForeignServer(*plays, always=always))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def whole(text: str, finish_reason: str = "stop", status: int = 200) -> Play:
    return message({"content": text}, finish_reason, status)


def message(fields: dict[str, object], finish_reason: str = "stop", status: int = 200) -> Play:
    answer = {
        "id": "cmpl-7f2e",
        "object": "chat.completion",
        "created": 1736000000,
        "model": "local-llm",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", **fields},
                "finish_reason": finish_reason,
            }
        ],
        "usage": {"prompt_tokens": 40, "completion_tokens": 12, "total_tokens": 52},
    }
    return plain(status, answer)


def plain(status: int, answer: object, headers: dict[str, str] | None = None) -> Play:
    def play(handler: BaseHTTPRequestHandler) -> None:
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        handler.send_response(status)
        given = {"Content-Type": "application/json", **(headers or {})}
        handler.send_header("Content-Length", str(len(body)))
        for name, value in given.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return play


def refused(status: int, message: str, code: str | None = None, **headers: str) -> Play:
    error = {"error": {"message": message, "type": "error", "param": None, "code": code}}
    return plain(status, error, {name.replace("_", "-"): value for name, value in headers.items()})


def streamed(*pieces: str, finish_reason: str | None = "stop", usage: bool = True) -> Play:
    """Server-sent events without a length, as some servers send them; the end is the close."""

    def play(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream; charset=utf-8")
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(b": keep-alive comment\n\n")
        for piece in pieces:
            chunk = {"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]}
            handler.wfile.write(b"data: " + json.dumps({"id": "1", **chunk}).encode() + b"\r\n\r\n")
        if finish_reason:
            end = {"choices": [{"index": 0, "delta": {}, "finish_reason": finish_reason}]}
            handler.wfile.write(b"data: " + json.dumps(end).encode() + b"\n\n")
        if usage:
            last = {"choices": [], "usage": {"prompt_tokens": 40, "completion_tokens": 12}}
            handler.wfile.write(b"data: " + json.dumps(last).encode() + b"\n\n")
        if finish_reason:
            handler.wfile.write(b"data: [DONE]\n\n")
        handler.close_connection = True

    return play


def broken(*pieces: str) -> Play:
    """A chunked stream that ends in the middle of a chunk."""

    def play(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for piece in pieces:
            chunk = {"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]}
            data = b"data: " + json.dumps(chunk).encode() + b"\n\n"
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        handler.wfile.write(b"ff\r\ndata: {")
        handler.close_connection = True

    return play


def hung_up(handler: BaseHTTPRequestHandler) -> None:
    """A request that is taken and gets no answer at all."""
    handler.close_connection = True


class Bench:
    """The agent alone, with the waits it would have made."""

    def __init__(self, scratch: Path, url: str, **changes: object) -> None:
        settings = quick(
            scratch, **{"base_url": url, "api_key": "sk-test", "model": MODEL, **changes}
        )
        self.waits: list[float] = []
        self.progress = Progress(lambda files: None)
        self.agent = OpenAIAgent(
            ChatEndpoint(settings, sleep=self._wait, randomness=random.Random(1)),
            settings.answer_format,
        )

    async def _wait(self, delay_s: float) -> None:
        self.waits.append(delay_s)

    async def run(self, assignment: Assignment | None = None) -> str:
        """The first file's content, or the text, or 'REASON: detail'."""
        whole_assignment = assignment or assigned("openai")
        try:
            result = await self.agent.run(whole_assignment, Path(), self.progress)
        except AgentError as fault:
            return f"{fault.reason.name}: {fault.detail}"
        finally:
            await self.agent.close()
        return result.files[0].content.decode() if result.files else result.text
