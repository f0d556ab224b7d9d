"""The simulated model: its API, its figures, its faults."""

# ruff: noqa: ASYNC110 -- the server counts requests, and tells nobody
from __future__ import annotations

import asyncio
import contextlib
import io
import json
import math
import os
import random
import signal
import statistics
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
from agent_setup import ADD, SmallBook, assigned, read_answer

from node.agents.json_answer import files_form
from node.agents.overflow import read_overflow
from node.model.faults import REFUSAL, RateLimit, draw_faults, garbage
from node.model.knobs import RATES, ModelKnobs
from node.model.latency import key_of, latency_s, tokens_of
from node.model.server import REQUEST_SIZE_MAX, RunningModel, start_model
from node.prompt.follow_up import continue_prompt
from node.prompt.opening import build_prompt

FAST = 1_000_000.0
Json = dict[str, object]


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session


Serve = Callable[..., Awaitable[RunningModel]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts a model with the given knobs; it is closed after the test."""
    async with AsyncExitStack() as stack:

        async def start(**knobs: object) -> RunningModel:
            whole = ModelKnobs(**{"speed": FAST, **knobs})  # type: ignore[arg-type]
            model = await start_model(whole, book=SmallBook())
            stack.push_async_callback(model.close)
            return model

        yield start


def asking(**changes: object) -> Json:
    messages = [
        {"role": message.role, "content": message.content}
        for message in build_prompt(assigned("simulated"))
    ]
    return {"model": "simulated", "messages": messages, **changes}


async def test_a_client_that_hangs_up_leaves_no_traceback(
    serve: Serve, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has gone when the server writes to it, and the server has not heard of that yet."""
    model = await serve()
    written = asyncio.Event()

    async def broken(self: object, data: bytes) -> None:
        written.set()
        raise ConnectionResetError("Cannot write to closing transport")

    monkeypatch.setattr("aiohttp.web.StreamResponse.write", broken)
    async with aiohttp.ClientSession() as http:
        url = f"{model.url}/chat/completions"
        with contextlib.suppress(aiohttp.ClientError):
            async with http.post(url, json=asking(stream=True)) as response:
                await response.read()
    assert written.is_set()
    assert [record for record in caplog.records if record.exc_info] == []


async def post(
    http: aiohttp.ClientSession, model: RunningModel, body: object
) -> tuple[int, dict[str, str], str]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    url = f"{model.url}/chat/completions"
    async with http.post(url, data=io.BytesIO(data)) as response:
        return response.status, dict(response.headers), await response.text()


# -- figures -------------------------------------------------------------------------------------


def test_latency_is_a_pure_function_of_its_arguments() -> None:
    assert latency_s("gpt", 1, "add.py", 0, 1) == latency_s("gpt", 1, "add.py", 0, 1)
    others = {
        latency_s("claude", 1, "add.py", 0, 1),
        latency_s("gpt", 2, "add.py", 0, 1),
        latency_s("gpt", 1, "sub.py", 0, 1),
        latency_s("gpt", 1, "add.py", 1, 1),
        latency_s("gpt", 1, "add.py", 0, 2),
    }
    assert len(others | {latency_s("gpt", 1, "add.py", 0, 1)}) == 6


@pytest.mark.parametrize(
    ("model", "files", "mu", "sigma"),
    [("gpt", 0, 0.337, 0.543), ("claude", 4, 2.54, 0.499), ("gemini", 30, 2.718, 0.254)],
)
def test_latencies_follow_the_measured_distribution(
    model: str, files: int, mu: float, sigma: float
) -> None:
    logs = [math.log(latency_s(model, 0, "f", attempt, files)) for attempt in range(4_000)]
    assert statistics.mean(logs) == pytest.approx(mu, abs=0.04)
    assert statistics.stdev(logs) == pytest.approx(sigma, abs=0.03)


def test_tokens_are_the_measured_means() -> None:
    assert tokens_of("gpt", "the SVG of it", 2) == (4996, round(14.7 + 2 * 278.3))
    assert tokens_of("claude", "a library of math functions", 1) == (2536, round(76.2 + 182.7))
    assert tokens_of("gemini", "SAMPLE_DATA = []", 0) == (6424, 1)


def test_knobs_refuse_what_makes_no_sense() -> None:
    for bad in ({"hang": 1.5}, {"garbage": -0.1}, {"slow": math.nan}, {"speed": 0.0}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            ModelKnobs(**bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="use one of gpt, claude, gemini"):
        ModelKnobs(model="hal")


# -- faults --------------------------------------------------------------------------------------


def test_a_fault_befalls_its_share_of_requests_and_the_same_ones_each_time() -> None:
    knobs = ModelKnobs(seed=3, **dict.fromkeys(RATES, 0.3))  # type: ignore[arg-type]
    drawn = [draw_faults(knobs, "add.py", attempt) for attempt in range(2_000)]
    assert drawn == [draw_faults(knobs, "add.py", attempt) for attempt in range(2_000)]
    for name in RATES:
        share = sum(getattr(faults, name) for faults in drawn) / len(drawn)
        assert share == pytest.approx(0.3, abs=0.05), name


def test_changing_one_rate_leaves_the_other_draws_alone() -> None:
    few = ModelKnobs(hang=0.5)
    more = ModelKnobs(hang=0.5, garbage=0.9)
    for attempt in range(200):
        assert draw_faults(few, "f", attempt).hang == draw_faults(more, "f", attempt).hang


def test_garbage_never_holds_the_file() -> None:
    for seed in range(50):
        answer = read_answer(garbage(("add.py",), random.Random(seed)), ("add.py",))
        assert answer.files == ()


def test_rate_limit_lets_a_burst_pass_and_then_says_when_to_come_back() -> None:
    limit = RateLimit(2.0)
    assert [limit.wait_s(100.0) for _ in range(3)] == [0.0, 0.0, 0.5]
    assert limit.wait_s(100.5) == 0.0


# -- the API -------------------------------------------------------------------------------------


async def test_models_are_listed_and_labelled_simulated(
    http: aiohttp.ClientSession, serve: Serve
) -> None:
    model = await serve()
    async with http.get(f"{model.url}/models") as response:
        listed = await response.json()
    names = [entry["id"] for entry in listed["data"]]
    assert names == ["simulated", "simulated-gpt", "simulated-claude", "simulated-gemini"]
    assert {entry["owned_by"] for entry in listed["data"]} == {"simulated"}


async def test_whole_answer_has_the_shape_of_openais(
    http: aiohttp.ClientSession, serve: Serve
) -> None:
    model = await serve(model="claude")
    status, _, text = await post(http, model, asking())
    answer = json.loads(text)
    assert status == 200
    assert answer["object"] == "chat.completion"
    assert answer["model"] == "simulated-claude"
    assert answer["system_fingerprint"] == "simulated"
    assert answer["id"].startswith("chatcmpl-simulated-")
    (choice,) = answer["choices"]
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["content"] == f"```python path=add.py\n{ADD}```\n"
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


async def test_streamed_answer_adds_up_to_the_whole_one(
    http: aiohttp.ClientSession, serve: Serve
) -> None:
    model = await serve()
    asked = asking(stream=True, stream_options={"include_usage": True})
    _, headers, text = await post(http, model, asked)
    assert headers["Content-Type"].startswith("text/event-stream")
    events = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert events.pop() == "[DONE]"
    chunks = [json.loads(line) for line in events]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] > 0
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks[:-1]]
    assert "".join(delta.get("content", "") for delta in deltas).endswith(f"{ADD}```\n")
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"


async def test_a_question_is_answered_from_the_book(
    http: aiohttp.ClientSession, serve: Serve
) -> None:
    model = await serve()
    message = {
        "role": "user",
        "content": [{"type": "text", "text": "How many of five are a majority?"}],
    }
    _, _, text = await post(http, model, {"model": "simulated-gpt", "messages": [message]})
    assert json.loads(text)["choices"][0]["message"]["content"] == "Three."


async def test_what_the_book_does_not_hold_is_an_error_that_names_the_way_out(
    http: aiohttp.ClientSession, serve: Serve
) -> None:
    model = await serve()
    message = {"role": "user", "content": "What is love?"}
    status, _, text = await post(http, model, {"model": "simulated", "messages": [message]})
    error = json.loads(text)["error"]
    assert (status, error["code"]) == (404, "unknown_task")
    assert "no worked answer" in error["message"]
    assert "OPENAI_BASE_URL" in error["message"]
    assert "agent: openai" in error["message"]


@pytest.mark.parametrize(
    ("body", "status", "parameter"),
    [
        (b"{", 400, None),
        (b"[]", 400, None),
        ({"messages": [{"role": "user", "content": "x"}]}, 400, "model"),
        ({"model": "gpt-9", "messages": [{"role": "user", "content": "x"}]}, 404, "model"),
        ({"model": "simulated"}, 400, "messages"),
        ({"model": "simulated", "messages": []}, 400, "messages"),
        ({"model": "simulated", "messages": ["x"]}, 400, "messages[0]"),
        ({"model": "simulated", "messages": [{"role": "x"}]}, 400, "messages[0].role"),
        ({"model": "simulated", "messages": [{"role": "user"}]}, 400, "messages[0].content"),
        (asking(stream="yes"), 400, "stream"),
        (asking(stream_options={}), 400, "stream_options"),
        (asking(n=2), 400, "n"),
        (b" " * (REQUEST_SIZE_MAX + 1), 413, None),
        (b"[" * 100_000, 400, None),
    ],
)
async def test_a_bad_request_is_refused_in_openais_form(
    http: aiohttp.ClientSession, serve: Serve, body: object, status: int, parameter: str | None
) -> None:
    model = await serve()
    got, _, text = await post(http, model, body)
    error = json.loads(text)["error"]
    assert (got, error["param"]) == (status, parameter)
    assert error["message"]


async def test_drawn_429_says_when_to_come_back(http: aiohttp.ClientSession, serve: Serve) -> None:
    model = await serve(http_429=1.0)
    status, headers, text = await post(http, model, asking())
    assert (status, headers["Retry-After"]) == (429, "1")
    assert json.loads(text)["error"]["code"] == "rate_limit_exceeded"


async def test_requests_above_the_rate_get_429(http: aiohttp.ClientSession, serve: Serve) -> None:
    model = await serve(requests_per_second=0.001)
    statuses = [(await post(http, model, asking()))[0] for _ in range(2)]
    assert statuses == [200, 429]


async def test_a_server_that_keeps_no_calls_tells_of_none(
    http: aiohttp.ClientSession, serve: Serve
) -> None:
    model = await serve()
    await post(http, model, asking())
    async with http.get(f"{model.url}/calls") as answer:
        assert answer.status == 404


async def test_the_server_tells_when_it_was_called_and_what_it_said(
    http: aiohttp.ClientSession, serve: Serve
) -> None:
    model = await serve(requests_per_second=0.001, keep_calls=True)
    for _ in range(3):
        await post(http, model, asking())
    await post(http, model, b"{")
    async with http.get(f"{model.url}/calls") as response:
        calls = (await response.json())["calls"]
    assert [call["status"] for call in calls] == [200, 429, 429, 400]
    times = [call["at_s"] for call in calls]
    assert times == sorted(times)
    assert times[0] >= 0.0


async def test_drawn_5xx_is_a_server_error(http: aiohttp.ClientSession, serve: Serve) -> None:
    model = await serve(http_5xx=1.0)
    status, _, _ = await post(http, model, asking())
    assert status in (500, 502, 503)


async def test_broken_answers_break_the_connection(
    http: aiohttp.ClientSession, serve: Serve
) -> None:
    model = await serve(break_stream=1.0)
    for stream in (True, False):
        with pytest.raises(aiohttp.ClientError):
            await post(http, model, asking(stream=stream))


async def test_a_refusal_comes_in_a_field_of_its_own(
    http: aiohttp.ClientSession, serve: Serve
) -> None:
    model = await serve(refuse=1.0)
    _, _, text = await post(http, model, asking())
    (choice,) = json.loads(text)["choices"]
    assert choice["message"] == {"role": "assistant", "content": None, "refusal": REFUSAL}
    _, _, text = await post(http, model, asking(stream=True))
    assert json.dumps({"refusal": REFUSAL}) in text


async def test_a_drawn_overflow_tells_its_numbers(
    http: aiohttp.ClientSession, serve: Serve
) -> None:
    model = await serve(overflow=1.0)
    status, _, text = await post(http, model, asking())
    error = json.loads(text)["error"]
    assert (status, error["code"]) == (400, "context_length_exceeded")
    told = read_overflow(status, (error["code"],), error["message"])
    assert told is not None
    assert told.asked > told.limit > 0


async def test_a_cut_answer_is_half_as_long_and_says_so(
    http: aiohttp.ClientSession, serve: Serve
) -> None:
    whole, cut = [
        json.loads((await post(http, await serve(truncate=rate), asking()))[2])
        for rate in (0.0, 1.0)
    ]
    assert cut["choices"][0]["finish_reason"] == "length"
    text = whole["choices"][0]["message"]["content"]
    part = cut["choices"][0]["message"]["content"]
    assert text.startswith(part)
    assert 0.4 < len(part) / len(text) < 0.6
    assert cut["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"] // 2


async def test_an_answer_is_gone_on_with_from_the_repeated_lines_on(
    http: aiohttp.ClientSession, serve: Serve
) -> None:
    model = await serve()
    kept = "```python path=add.py\ndef add(a, b):\n"
    messages = (*build_prompt(assigned("simulated")), *continue_prompt(kept))
    said = [{"role": message.role, "content": message.content} for message in messages]
    _, _, text = await post(http, model, asking(messages=said))
    content = json.loads(text)["choices"][0]["message"]["content"]
    assert content == "def add(a, b):\n    return a + b\n```\n"


async def test_a_schema_is_kept_to(http: aiohttp.ClientSession, serve: Serve) -> None:
    model = await serve()
    form = dict(files_form(("add.py",)))
    _, _, text = await post(http, model, asking(response_format=form))
    content = json.loads(text)["choices"][0]["message"]["content"]
    assert json.loads(content) == {"files": [{"path": "add.py", "content": ADD}]}
    status, _, text = await post(http, model, asking(response_format={"type": "json_object"}))
    assert (status, json.loads(text)["error"]["param"]) == (400, "response_format")


async def test_a_retry_draws_anew(http: aiohttp.ClientSession, serve: Serve) -> None:
    knobs = ModelKnobs(speed=FAST, seed=5, http_5xx=0.5)
    expected = [draw_faults(knobs, "add.py", attempt).http_5xx for attempt in range(8)]
    assert len(set(expected)) == 2
    model = await serve(seed=5, http_5xx=0.5)
    seen = [(await post(http, model, asking()))[0] >= 500 for _ in range(8)]
    assert seen == expected


async def test_a_hanging_request_is_given_up_when_the_server_stops(
    http: aiohttp.ClientSession, serve: Serve
) -> None:
    model = await serve(hang=1.0)
    request = asyncio.ensure_future(post(http, model, asking()))
    while not model.requests:
        await asyncio.sleep(0)
    await asyncio.wait_for(model.close(), 5)
    with pytest.raises(aiohttp.ClientError):
        await request


async def test_answer_takes_the_drawn_latency_over_the_speed(
    http: aiohttp.ClientSession, serve: Serve
) -> None:
    knobs = ModelKnobs(seed=9, speed=20.0)
    expected = latency_s("gpt", 9, key_of(["add.py"]), 0, 1) / knobs.speed
    model = await serve(seed=9, speed=20.0)
    now = asyncio.get_running_loop().time
    begun = now()
    await post(http, model, asking(stream=True))
    took = now() - begun
    assert expected <= took < expected + 1.0  # above it only by the machine's own delays


# -- as a process --------------------------------------------------------------------------------


async def test_the_process_says_where_it_listens_and_stops_on_sigterm(
    http: aiohttp.ClientSession,
) -> None:
    pytest.importorskip("node.model.book", reason="the answer book is not there yet")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "node.model", "--port", "0", "--seed", "3", "--speed", "1000"),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert process.stdout is not None
    try:
        line = (await asyncio.wait_for(process.stdout.readline(), 20)).decode()
        word, url = line.split()
        assert word == "listening"
        async with http.get(f"{url}/models") as response:
            assert response.status == 200
        port = url.rpartition(":")[2].partition("/")[0]
        second = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "node.model", "--port", port),
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        )
        _, complaint = await asyncio.wait_for(second.communicate(), 20)
        assert second.returncode == 2
        assert b"choose another --port" in complaint
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 10) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
