"""The openai agent against an endpoint that is not ours."""

from __future__ import annotations

import contextlib
import json
import logging
import random
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from agent_setup import ADD, Watched, assigned, quick, text_file
from foreign_server import (
    FENCED,
    Bench,
    Foreign,
    Play,
    broken,
    foreign_servers,
    hung_up,
    plain,
    refused,
    streamed,
    unpriced,
    whole,
)

from node.agents import Progress, completion
from node.agents.chat import UNREACHABLE_TRIES_MAX
from node.agents.retry import read_retry_after, wait_s
from node.agents.settings import AgentSettings
from node.lab.watch import Progress as RunProgress
from node.lab.watch import TaskProgress
from protocol.events import AgentFailed, Completed, Failure
from protocol.jobs import Quorum

foreign = pytest.fixture(foreign_servers, name="foreign")


# -- answers -------------------------------------------------------------------------------------


async def test_whole_answer_becomes_the_file(foreign: Foreign) -> None:
    server = foreign(whole(FENCED))
    bench = Bench(Path(), server.url, stream=False)
    assert await bench.run() == ADD
    assert bench.progress.usage == unpriced(calls=1, tokens_in=40, tokens_out=12)
    assert server.keys == ["Bearer sk-test"]
    assert server.asked[0]["model"] == "local-llm"
    assert "stream" not in server.asked[0]


async def test_streamed_answer_becomes_the_file(foreign: Foreign) -> None:
    server = foreign(streamed(*FENCED))
    bench = Bench(Path(), server.url)
    assert await bench.run() == ADD
    assert bench.progress.usage == unpriced(calls=1, tokens_in=40, tokens_out=12)
    assert server.asked[0]["stream_options"] == {"include_usage": True}


async def test_server_without_stream_options_is_asked_without(
    foreign: Foreign,
) -> None:
    server = foreign(refused(400, "Unknown field: stream_options"), streamed(*FENCED, usage=False))
    assert await Bench(Path(), server.url).run() == ADD
    assert "stream_options" not in server.asked[1]


async def test_question_is_answered_by_plain_text(foreign: Foreign) -> None:
    server = foreign(streamed(" 42", " is it.\n"))
    assert await Bench(Path(), server.url).run(assigned("openai", writes=())) == "42 is it."


VOTE = assigned("openai", prompt="How many?", writes=(), quorum=Quorum(3, 2))


@pytest.mark.parametrize("said", ["Three.", "So it is.\n\n**Answer:** three"])
async def test_an_answer_that_is_clear_is_not_asked_for_again(foreign: Foreign, said: str) -> None:
    server = foreign(whole(said))
    assert await Bench(Path(), server.url, stream=False).run(VOTE) == said
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("said", "result"),
    [
        ("Answer: three", "Half.\nAnd one.\n\nAnswer: three"),
        ("Three", "Half.\nAnd one.\n\nAnswer: Three"),
        ("Well,\nwho knows?", "Half.\nAnd one."),
    ],
)
async def test_who_does_not_mark_its_answer_is_asked_once_which_it_is(
    foreign: Foreign, said: str, result: str
) -> None:
    server = foreign(whole("Half.\nAnd one."), whole(said))
    bench = Bench(Path(), server.url, stream=False)
    assert await bench.run(VOTE) == result
    again = server.asked[1]["messages"]
    assert isinstance(again, list)
    assert again[2] == {"role": "assistant", "content": "Half.\nAnd one."}
    assert "begins with `Answer:`" in again[3]["content"]
    assert bench.progress.usage.calls == 2


async def test_an_answer_is_kept_when_nobody_can_say_which_part_of_it_counts(
    foreign: Foreign,
) -> None:
    server = foreign(whole("Half.\nAnd one."), refused(400, "no more"))
    assert await Bench(Path(), server.url, stream=False).run(VOTE) == "Half.\nAnd one."


async def test_what_a_model_says_it_found_out_is_told_to_the_team(foreign: Foreign) -> None:
    told: list[str] = []
    server = foreign(whole(f"FACT: add() takes floats too\n\n{FENCED}\nFACT:\n"))
    bench = Bench(Path(), server.url, stream=False)
    bench.progress = Progress(lambda files: None, tell=told.append)
    assert await bench.run() == ADD
    assert told == ["add() takes floats too"]


async def test_what_a_model_found_out_is_told_though_its_answer_is_unusable(
    foreign: Foreign,
) -> None:
    told: list[str] = []
    useless = "FACT: the spec is cut off\nI cannot go on."
    server = foreign(whole(useless), whole(f"{useless}\nFACT: really"))
    bench = Bench(Path(), server.url, stream=False)
    bench.progress = Progress(lambda files: None, tell=told.append)
    assert (await bench.run()).startswith("OUTPUT: no usable answer")
    assert told == ["the spec is cut off", "really"]


@pytest.mark.parametrize(
    "said",
    [
        "```python path=add.py\ny\nFACT: x\n```\n",
        json.dumps({"files": [{"path": "add.py", "content": "y\nFACT: x\n"}]}).replace("\\n", "\n"),
    ],
)
async def test_a_line_of_a_file_is_nothing_that_was_found_out(foreign: Foreign, said: str) -> None:
    told: list[str] = []
    server = foreign(whole(said))
    bench = Bench(Path(), server.url, stream=False)
    bench.progress = Progress(lambda files: None, tell=told.append)
    assert await bench.run() == "y\nFACT: x\n"
    assert told == []


async def test_unusable_answer_gets_one_repair(foreign: Foreign) -> None:
    server = foreign(whole("```python path=wrong.py\nx\n```"), whole(FENCED))
    assert await Bench(Path(), server.url, stream=False).run() == ADD
    repair = server.asked[1]["messages"]
    assert isinstance(repair, list)
    assert [message["role"] for message in repair] == ["system", "user", "assistant", "user"]
    assert "- add.py is missing\n- nobody asked for wrong.py" in repair[3]["content"]


async def test_repair_keeps_the_files_that_were_right(
    foreign: Foreign,
) -> None:
    server = foreign(streamed(FENCED), streamed("```python path=sub.py\ny\n```"))
    bench = Bench(Path(), server.url)
    assert await bench.run(assigned("openai", writes=("add.py", "sub.py"))) == ADD
    assert [file.path for file in bench.progress.files] == ["add.py", "sub.py"]


async def test_an_answer_without_the_file_is_shown_to_its_author_once(foreign: Foreign) -> None:
    server = foreign(whole("no idea"), whole("none"))
    end = await Bench(Path(), server.url, stream=False).run()
    assert end == "OUTPUT: no usable answer, even when asked again: add.py is missing"
    assert len(server.asked) == 2


# -- refusals ------------------------------------------------------------------------------------


async def test_429_is_waited_out_as_long_as_the_server_says(
    foreign: Foreign, caplog: pytest.LogCaptureFixture
) -> None:
    server = foreign(refused(429, "slow down", Retry_After="7"), streamed(*FENCED))
    bench = Bench(Path(), server.url)
    assert await bench.run() == ADD
    assert len(bench.waits) == 1
    assert 7.0 <= bench.waits[0] <= 7.7
    assert bench.progress.usage.calls == 2
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "limits the rate (429): slow down" in record.getMessage()


async def test_a_wait_beyond_the_bound_is_not_begun(foreign: Foreign) -> None:
    server = foreign(refused(429, "tomorrow", Retry_After="86400"))
    bench = Bench(Path(), server.url)
    assert "asks to wait 86400 s" in await bench.run()
    assert bench.waits == []


async def test_5xx_is_tried_again_within_the_bound(foreign: Foreign) -> None:
    server = foreign(*[refused(503, "overloaded")] * 3)
    bench = Bench(Path(), server.url)
    end = await bench.run()
    assert end.startswith("UNREACHABLE: ")
    assert "answers 503: overloaded; gave up after 3 requests" in end
    assert len(bench.waits) == 2
    assert bench.progress.usage.calls == 3


@pytest.mark.parametrize(
    ("play", "words"),
    [
        (refused(401, "Incorrect API key"), "check OPENAI_API_KEY"),
        (refused(403, "not yours"), "OPENAI_MODEL"),
        (refused(404, "The model `local-llm` does not exist", "model_not_found"), "OPENAI_MODEL"),
        (plain(404, b"<html>nothing here</html>"), "check OPENAI_BASE_URL"),
        (refused(400, "Model Not Exist"), "set OPENAI_MODEL to one it has"),
        (refused(402, "Insufficient Balance"), "account is used up"),
        (refused(429, "You exceeded your quota", "insufficient_quota"), "account is used up"),
    ],
)
async def test_what_another_key_or_endpoint_may_do_is_not_repeated_and_names_the_remedy(
    foreign: Foreign, play: Play, words: str
) -> None:
    server = foreign(play)
    end = await Bench(Path(), server.url).run()
    assert end.startswith("NO_MODEL: ")
    assert words in end
    assert len(server.asked) == 1


async def test_a_request_that_is_rejected_is_not_repeated(foreign: Foreign) -> None:
    server = foreign(refused(400, "no such voice"))
    end = await Bench(Path(), server.url).run()
    assert end.startswith("BACKEND: ")
    assert "rejects the request with 400 (no such voice)" in end
    assert len(server.asked) == 1


async def test_missing_settings_are_named() -> None:
    unset = await Bench(Path(), "", api_key="").run()
    assert unset.startswith("NO_MODEL: ")
    assert "set OPENAI_API_KEY, or OPENAI_BASE_URL" in unset
    unchosen = await Bench(Path(), "http://127.0.0.1:9", model="").run()
    assert unchosen.startswith("NO_MODEL: ")
    assert "set OPENAI_MODEL" in unchosen


async def test_unreachable_endpoint_names_the_variable(
    foreign: Foreign,
) -> None:
    server = foreign()
    server.close()
    bench = Bench(Path(), server.url)
    end = await bench.run()
    assert end.startswith("UNREACHABLE: ")
    assert "check OPENAI_BASE_URL; gave up after 3 requests" in end


async def test_a_host_that_does_not_exist_is_unreachable() -> None:
    end = await Bench(Path(), "http://no-such-host.invalid/v1").run()
    assert end.startswith("UNREACHABLE: http://no-such-host.invalid/v1 cannot be reached (")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a full backlog refuses")
async def test_who_answers_no_knock_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packets that get lost are like a machine that is off."""
    monkeypatch.setattr(completion, "CONNECT_TIMEOUT_S", 0.2)
    with contextlib.ExitStack() as stack:
        deaf = stack.enter_context(socket.socket())
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(4):  # more than it queues: further ones wait
            knock = stack.enter_context(socket.socket())
            knock.setblocking(False)
            knock.connect_ex(deaf.getsockname())
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/v1"
        end = await Bench(Path(), url).run()
    assert end.startswith(f"UNREACHABLE: {url} cannot be reached (ConnectTimeout)")


async def test_an_endpoint_where_nobody_listens_is_given_up_early(
    foreign: Foreign,
) -> None:
    server = foreign()
    server.close()
    asked = AgentSettings(Path())
    bench = Bench(
        Path(),
        server.url,
        tries_max=asked.tries_max,
        backoff_first_s=asked.backoff_first_s,
        backoff_max_s=asked.backoff_max_s,
    )
    assert f"gave up after {UNREACHABLE_TRIES_MAX} requests" in await bench.run()
    assert len(bench.waits) == UNREACHABLE_TRIES_MAX - 1
    assert sum(bench.waits) < 5.0


async def test_an_endpoint_that_breaks_off_is_asked_as_often_as_the_settings_say(
    foreign: Foreign,
) -> None:
    tries = UNREACHABLE_TRIES_MAX + 2
    server = foreign(*[hung_up] * tries)
    assert (
        f"gave up after {tries} requests" in await Bench(Path(), server.url, tries_max=tries).run()
    )
    assert len(server.asked) == tries


# -- broken connections --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("play", "written"),
    [
        (broken(*FENCED[:30]), 30),
        (streamed(*FENCED[:30], finish_reason=None, usage=False), 30),
        (streamed(*FENCED[:30], finish_reason="error", usage=False), 30),
        (plain(200, b"<html>a proxy's page</html>"), 0),
    ],
)
async def test_a_stream_that_breaks_off_is_asked_for_again_and_paid_for(
    foreign: Foreign, play: Play, written: int
) -> None:
    server = foreign(play, streamed(*FENCED))
    bench = Bench(Path(), server.url)
    assert await bench.run() == ADD
    read = sum(len(each["content"]) for each in server.said(0)) if written else 0
    lost = unpriced(calls=1, tokens_in=read // 4, tokens_out=written // 4)
    assert bench.progress.usage == lost.plus(unpriced(calls=1, tokens_in=40, tokens_out=12))
    assert len(bench.waits) == 1


async def test_an_error_inside_the_stream_is_asked_for_again(
    foreign: Foreign,
) -> None:
    body = b'data: {"error": {"message": "worker died", "type": "server_error"}}\n\n'
    server = foreign(plain(200, body, {"Content-Type": "text/event-stream"}), streamed(*FENCED))
    assert await Bench(Path(), server.url).run() == ADD


async def test_answers_without_choices_are_not_taken(
    foreign: Foreign,
) -> None:
    server = foreign(plain(200, {"choices": []}), plain(200, {}), whole(FENCED))
    assert await Bench(Path(), server.url, stream=False).run() == ADD


async def test_silence_is_given_up_and_asked_again(
    foreign: Foreign,
) -> None:
    released = threading.Event()

    def silent(handler: BaseHTTPRequestHandler) -> None:
        released.wait(20)
        handler.close_connection = True

    server = foreign(silent, streamed(*FENCED))
    try:
        assert await Bench(Path(), server.url, request_timeout_s=0.3).run() == ADD
    finally:
        released.set()


# -- the whole way -------------------------------------------------------------------------------


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Callable[..., Watched]]:
    made: list[Watched] = []

    def make(**changes: object) -> Watched:
        settings = {"api_key": "sk-test", "model": "local-llm", **changes}
        made.append(Watched(quick(tmp_path / "scratch", **settings)))
        return made[-1]

    yield make
    for node in made:
        await node.invocations.close()


async def test_a_foreign_answer_is_checked_like_any_other(
    foreign: Foreign, nodes: Callable[..., Watched]
) -> None:
    server = foreign(broken("```"), refused(429, "busy", Retry_After="0"), streamed(*FENCED))
    verify = "{python} -c 'from add import add; assert add(2, 3) == 5'"
    end = await nodes(base_url=server.url).run(assigned("openai", verify=verify))
    lost = sum(len(each["content"]) for each in server.said(0)) // 4  # by what broke off
    expected = unpriced(calls=3, tokens_in=lost + 40, tokens_out=12)
    assert end == Completed(1, (text_file("add.py", ADD),), "", expected)


async def test_abort_in_mid_stream_cuts_the_connection_and_keeps_what_was_finished(
    foreign: Foreign, nodes: Callable[..., Watched]
) -> None:
    cut = threading.Event()

    def endless(handler: BaseHTTPRequestHandler) -> None:
        streamed(FENCED, finish_reason=None, usage=False)(handler)
        handler.connection.settimeout(20)
        if handler.connection.recv(1) == b"":
            cut.set()

    node = nodes(base_url=foreign(endless).url)
    node.invocations.start(1, assigned("openai", writes=("add.py", "sub.py")))
    await node.wait_progress()
    node.invocations.abort(1, "lease lost")
    end = await node.wait_end()
    assert isinstance(end, AgentFailed)
    assert end.reason is Failure.ABORTED
    assert end.files == (text_file("add.py", ADD),)
    assert cut.wait(10)


# -- endpoints that do not stream ----------------------------------------------------------------


async def test_a_whole_answer_in_place_of_a_stream_is_taken(
    foreign: Foreign,
) -> None:
    server = foreign(whole(FENCED))
    bench = Bench(Path(), server.url)
    assert await bench.run() == ADD
    assert server.asked[0]["stream"] is True
    assert bench.progress.usage == unpriced(calls=1, tokens_in=40, tokens_out=12)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_web_page_is_no_endpoint(foreign: Foreign, stream: bool) -> None:
    server = foreign(plain(200, b"<html>Welcome</html>", {"Content-Type": "text/html"}))
    said = await Bench(Path(), server.url, stream=stream).run()
    assert said.startswith("BACKEND: ")
    assert "is no OpenAI-compatible endpoint" in said
    assert "OPENAI_BASE_URL" in said
    assert len(server.asked) == 1


async def test_json_that_is_no_completion_is_no_endpoint(
    foreign: Foreign,
) -> None:
    server = foreign(plain(200, {"ok": True}))
    said = await Bench(Path(), server.url).run()
    assert said.startswith("BACKEND: ")
    assert "is no OpenAI-compatible endpoint (application/json" in said
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "answer", [{"choices": []}, {"error": {"message": "worker died"}}, {"error": "worker died"}]
)
async def test_a_completion_that_went_wrong_is_asked_for_again(
    foreign: Foreign, answer: object
) -> None:
    server = foreign(plain(200, answer), whole(FENCED))
    assert await Bench(Path(), server.url).run() == ADD


# -- what the user of a run is told --------------------------------------------------------------


def test_a_run_keeps_why_the_last_attempt_failed() -> None:
    progress = RunProgress("job", {"add": TaskProgress("add")})
    failed = {
        "type": "AttemptFailed",
        "at": "n1",
        "agent": "ada",
        "ts": 1.0,
        "task": "add",
        "slot": 0,
    }
    for job, detail in (("job", "cannot be asked"), ("job", "says no"), ("another", "is lost")):
        progress.take({**failed, "job": job, "reason": "backend", "detail": detail})
    assert progress.last_failure == "add: backend: says no"


HALVES = "```python path=add.py\n# \ud83d\ude00 \ud83d\n" + ADD + "```\n"
HEALED = "# \U0001f600 \ufffd\n" + ADD


@pytest.mark.parametrize("stream", [False, True])
async def test_half_a_character_in_an_answer_is_replaced(foreign: Foreign, stream: bool) -> None:
    """JSON may hold one half of a surrogate pair, and a stream may cut a pair in two."""
    server = foreign(streamed(*HALVES) if stream else whole(HALVES))
    assert await Bench(Path(), server.url, stream=stream).run() == HEALED


async def test_half_a_character_in_an_error_is_replaced(
    foreign: Foreign, nodes: Callable[..., Watched]
) -> None:
    server = foreign(refused(400, "no \ud83d model"))
    end = await nodes(base_url=server.url).run(assigned("openai"))
    assert isinstance(end, AgentFailed)
    assert "no \ufffd model" in end.detail


@pytest.mark.parametrize(
    "usage",
    [
        {},
        *(
            {"prompt_tokens": tokens, "completion_tokens": 7}
            for tokens in (-1, 12.5, "many", 2**70)
        ),
        {"prompt_tokens": 7, "completion_tokens": None},
    ],
)
async def test_a_token_count_that_is_none_is_estimated(foreign: Foreign, usage: object) -> None:
    choice = {"message": {"role": "assistant", "content": FENCED}, "finish_reason": "stop"}
    server = foreign(plain(200, {"choices": [{"index": 0, **choice}], "usage": usage}))
    bench = Bench(Path(), server.url, stream=False)
    assert await bench.run() == ADD
    read = sum(len(each["content"]) for each in server.said(0))
    assert bench.progress.usage == unpriced(1, tokens_in=read // 4, tokens_out=len(FENCED) // 4)


# -- waiting -------------------------------------------------------------------------------------


def test_retry_after_is_read_in_all_its_forms() -> None:
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    date = (now + timedelta(seconds=30)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    assert read_retry_after({"retry-after": "1.5"}) == 1.5
    assert read_retry_after({"retry-after": date}, now) == 30.0
    assert read_retry_after({"retry-after": date}, now + timedelta(hours=1)) == 0.0
    assert read_retry_after({"retry-after-ms": "250", "retry-after": "9"}) == 0.25
    for nonsense in ({}, {"retry-after": "soon"}, {"retry-after": "-1"}, {"retry-after": "nan"}):
        assert read_retry_after(nonsense) is None


def test_back_off_doubles_up_to_its_bound() -> None:
    randomness = random.Random(0)
    for tries, ceiling in ((1, 0.5), (2, 1.0), (3, 2.0), (10, 20.0), (10_000, 20.0)):
        for _ in range(50):
            assert ceiling / 2 <= wait_s(tries, 0.5, 20.0, None, randomness) <= ceiling


def test_a_retry_after_is_a_floor() -> None:
    randomness = random.Random(0)
    for _ in range(50):
        assert 10.0 <= wait_s(1, 0.5, 20.0, 10.0, randomness) <= 11.0
