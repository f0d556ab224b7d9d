"""The client door: who may ask, what errors look like, and what may be repeated."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from unittest.mock import Mock

import pytest
from aiohttp import web
from ledger_hand import job, task
from lone_node import ALLOWED, READ, TOKEN, ask, lone_node

from node.doors import PACKED, client
from node.doors.client import BODY_SIZE_MAX, ClientDoor
from node.lab.door import Door, DoorError, Doors, route
from node.links.listening import endpoint_of, listen_on
from protocol import codec
from protocol.jobs import Job


@pytest.fixture
async def address(tmp_path: Path) -> AsyncIterator[str]:
    async with lone_node(tmp_path) as (address, _):
        yield address


# -- who may ask --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shown", [{}, {"Authorization": TOKEN}, {"Authorization": "Bearer wrong"}, {"X": "y"}]
)
@pytest.mark.parametrize("path", ["/v1/status", "/v1/jobs", "/nowhere"])
async def test_nothing_is_told_without_the_token(
    address: str, path: str, shown: dict[str, str]
) -> None:
    status, answer = await ask(address, "GET", path, **shown)
    assert (status, answer["error"]) == (401, "Unauthorized")
    assert "QUORATE_TOKEN" in str(answer["detail"])


async def test_a_header_that_is_no_text_is_refused_like_any_other(address: str) -> None:
    host, _, port = address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /v1/status HTTP/1.0\r\nAuthorization: Bearer \xff\xe9\r\n\r\n")
    assert (await reader.readline()).split()[1] in (b"400", b"401")
    writer.close()


async def test_health_is_told_to_everybody(address: str) -> None:
    assert (await ask(address, "GET", "/healthz"))[0] == 200
    assert await Doors([address], "").await_ready(10.0)


@pytest.mark.parametrize("path", ["/v1/status", "/healthz"])
async def test_a_page_in_a_browser_is_refused(address: str, path: str) -> None:
    status, answer = await ask(address, "GET", path, Origin="http://evil.example", **ALLOWED)
    assert (status, answer["error"]) == (403, "Forbidden")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "[x"]
)
@pytest.mark.parametrize("path", ["/v1/status", "/readyz"])
async def test_a_name_that_somebody_else_gave_this_node_is_refused(
    address: str, path: str, host: str
) -> None:
    """As a page does that had its own name resolve to this machine's address."""
    status, answer = await ask(address, "GET", path, Host=host, **ALLOWED)
    assert (status, answer["error"]) == (403, "Forbidden")
    assert "is no name of this node" in str(answer["detail"])


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:80", "127.0.0.9", "[::1]:7", "box.example:7480", "10.0.0.1"]
)
async def test_a_node_is_asked_by_any_address_or_its_own_name(address: str, host: str) -> None:
    assert (await ask(address, "GET", "/v1/status", Host=host, **ALLOWED))[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/jobs", "/v1/prepare", "/v1/faults", "/v1/leave"),
        *("/v1/registers", "/v1/transfer", "/v1/rescue"),
    ],
)
async def test_what_a_form_of_a_page_could_send_is_not_read(address: str, path: str) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        status, answer = await ask(address, "POST", path, b"{}", Content_Type=kind, **ALLOWED)
        assert (status, answer["error"]) == (415, "UnsupportedMediaType")
        assert "send Content-Type: application/" in str(answer["detail"])


async def test_every_route_is_told_of_in_the_text_of_the_door(tmp_path: Path) -> None:
    async with lone_node(tmp_path) as (_, runtime):
        routes = ClientDoor(runtime, Mock(), Mock(), Mock(), TOKEN).routes()
    called = {"blob": "ID"}
    told = re.findall(r"^    ([A-Z]+) +(/\S+)", client.__doc__ or "", flags=re.MULTILINE)
    served = [
        (
            route.method,
            re.sub(
                r"\{(\w+)(:[^}]+)?\}", lambda part: called.get(part[1], part[1].upper()), route.path
            ),
        )
        for route in routes
    ]
    assert sorted(told) == sorted(served)


# -- errors ----------------------------------------------------------------------------------------


async def test_every_error_is_json_and_says_what_is_wrong(address: str) -> None:
    for method, path, status, words in (
        ("GET", "/nowhere", 404, "there is nothing at /nowhere"),
        ("DELETE", "/v1/jobs", 405, "does not take DELETE"),
        ("GET", "/v1/jobs/none", 404, "knows no job 'none'"),
        ("POST", "/nowhere", 404, "there is nothing at /nowhere"),
        ("POST", "/v1/jobs", 400, "empty"),
        ("POST", "/v1/prepare", 400, "expected"),
    ):
        found, answer = await ask(address, method, path, **READ)
        assert found == status, answer
        assert words in str(answer["detail"])
    found, answer = await ask(address, "POST", "/v1/jobs", bytes(BODY_SIZE_MAX + 1), **READ)
    assert (found, answer["detail"]) == (413, f"the body is over {BODY_SIZE_MAX} bytes: send less")


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/prepare", "/v1/faults"])
async def test_a_body_that_is_nested_without_end_is_refused(address: str, path: str) -> None:
    status, answer = await ask(address, "POST", path, b"[" * 60_000, **READ)
    assert status in (400, 403), answer


async def test_a_bug_is_an_answer_too(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("node.doors.client.status_view", broken)
    status, answer = await ask(address, "GET", "/v1/status", **ALLOWED)
    assert (status, answer["error"]) == (500, "Unexpected")
    assert "ZeroDivisionError" in str(answer["detail"])


# -- submitting --------------------------------------------------------------------------------


def simple(name: str = "job", *names: str) -> Job:
    return job(*(task(each) for each in names or ("a",)), name=name)


async def submit(address: str, job: Job) -> tuple[int, dict[str, object]]:
    return await ask(
        address, "POST", "/v1/jobs", codec.pack_value(job), Content_Type=PACKED, **ALLOWED
    )


async def test_a_submission_may_be_repeated_but_an_id_not_be_used_twice(address: str) -> None:
    assert await submit(address, simple()) == (201, {"job": "job"})
    assert await submit(address, simple()) == (201, {"job": "job"})
    status, answer = await submit(address, simple("job", "x", "y"))
    assert (status, answer["error"]) == (409, "InvalidJob")
    assert "another job 'job'" in str(answer["detail"])


@pytest.mark.parametrize("kind", ["application/yaml", "application/json"])
async def test_a_job_may_come_as_text(address: str, kind: str) -> None:
    content = {
        "job": "text",
        "tasks": [{"id": "t", "prompt": "", "agent": "command", "run": "echo 42"}],
    }
    body = json.dumps(content).encode()
    status, answer = await ask(address, "POST", "/v1/jobs", body, Content_Type=kind, **ALLOWED)
    assert status == 201, answer
    assert str(answer["job"]).startswith("text-")


SIMPLE_TEXT = "job: text\ntasks: [{id: t, agent: command, run: 'echo 42'}]"


async def submit_text(
    address: str, query: str, text: str = SIMPLE_TEXT
) -> tuple[int, dict[str, object]]:
    path = f"/v1/jobs{query}"
    return await ask(
        address, "POST", path, text.encode(), Content_Type="application/yaml", **ALLOWED
    )


async def test_a_job_as_text_may_be_repeated_under_an_id_of_ones_own(address: str) -> None:
    for _ in range(2):
        assert await submit_text(address, "?id=mine") == (201, {"job": "mine"})
    status, answer = await submit_text(address, "?id=mine", SIMPLE_TEXT.replace("42", "43"))
    assert (status, answer["error"]) == (409, "InvalidJob")
    _, jobs = await ask(address, "GET", "/v1/jobs", **READ)
    assert len(jobs) == 1


@pytest.mark.parametrize("query", ["?id=", "?id=a%20b", "?id=../x", "?id=" + "x" * 101])
async def test_an_id_that_can_be_none_is_refused(address: str, query: str) -> None:
    status, answer = await submit_text(address, query)
    assert (status, answer["error"]) == (400, "InvalidJob")
    assert "job id" in str(answer["detail"])


async def test_a_packed_job_takes_no_second_id(address: str) -> None:
    body = codec.pack_value(simple())
    status, answer = await ask(
        address, "POST", "/v1/jobs?id=x", body, Content_Type=PACKED, **ALLOWED
    )
    assert (status, answer["error"]) == (400, "BadRequest")


async def test_names_with_odd_characters_are_found(address: str) -> None:
    """Whatever stands in an address has to be quoted in it."""
    assert route("jobs", "j", "files", "a b#c?d%e.txt") == "/v1/jobs/j/files/a%20b%23c%3Fd%25e.txt"
    odd = "a dir/b#c?d%41.txt"
    async with Door(address, TOKEN) as door:
        with pytest.raises(DoorError) as caught:
            await door.get_bytes(route("jobs", "none", "files", odd))
        assert "'none'" in str(caught.value)
        await door.submit(simple())
        with pytest.raises(DoorError) as caught:
            await door.get_bytes(route("jobs", "job", "files", odd))
        assert repr(odd) in str(caught.value)


# -- a client that repeats --------------------------------------------------------------------


@pytest.fixture
async def bad_door() -> AsyncIterator[tuple[str, list[str]]]:
    """Says that it is well, but breaks off what it is asked; the paths that were asked for."""
    asked: list[str] = []

    async def break_off(request: web.Request) -> web.StreamResponse:
        if request.path == "/healthz":
            return web.json_response({"ok": True})
        asked.append(request.path)
        await request.read()
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", break_off)
    runner = web.AppRunner(application)
    await runner.setup()
    listening = listen_on("127.0.0.1", 0)
    await web.SockSite(runner, listening).start()
    yield endpoint_of(listening), asked
    await runner.cleanup()


async def test_a_request_that_breaks_off_may_have_happened(
    bad_door: tuple[str, list[str]],
) -> None:
    async with Door(bad_door[0], TOKEN) as door:
        with pytest.raises(DoorError) as caught:
            await door.submit(simple())
        assert caught.value.kind == "TimedOut"
        with pytest.raises(DoorError) as caught:
            await door.get("/v1/status")
        assert caught.value.kind == "Unreachable"


def closed_address() -> str:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return endpoint_of(bound)


async def test_a_refused_connection_is_definite() -> None:
    async with Door(closed_address(), TOKEN) as door:
        with pytest.raises(DoorError) as caught:
            await door.submit(simple())
    assert caught.value.kind == "Unreachable"


async def test_any_door_of_the_team_will_do(address: str, bad_door: tuple[str, list[str]]) -> None:
    doors = Doors([closed_address(), bad_door[0], address], TOKEN)
    assert await doors.submit(simple()) == "job"
    assert (await doors.get(route("jobs", "job")))["id"] == "job"
    assert [answer is None for answer in await doors.gather("/v1/status")] == [True, True, False]


async def test_a_node_that_is_stopped_keeps_nobody_waiting(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.lab.door.LOOK_TIMEOUT_S", 0.2)
    with socket.socket() as stopped:  # its kernel takes connections, and nobody reads
        stopped.bind(("127.0.0.1", 0))
        stopped.listen()
        silent = endpoint_of(stopped)
        doors = Doors([silent, address], TOKEN)
        assert await doors.submit(simple()) == "job"
        assert (await doors.get(route("jobs", "job")))["id"] == "job"
        fault, status = await doors.ask_all("/v1/status", 0.2)
        assert status["node"]
        assert (fault.kind, str(fault)) == (
            "Unreachable",
            f"the node at {silent} has not answered within 0.2 s: it may be stopped, or have too "
            "much to do",
        )
        with pytest.raises(DoorError, match="has not answered within"):
            await Doors([silent], TOKEN).submit(simple())


async def test_what_may_have_happened_is_not_called_refused(
    bad_door: tuple[str, list[str]],
) -> None:
    with pytest.raises(DoorError) as caught:
        await Doors([bad_door[0], closed_address()], TOKEN).submit(simple(), timeout_s=0.2)
    assert caught.value.kind == "TimedOut"


async def test_waiting_for_a_team_that_is_gone_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.lab.door.GONE_TIMEOUT_S", 0.1)
    with pytest.raises(DoorError, match="nothing heard of job for"):
        await Doors([closed_address()], TOKEN).await_end("job")


@asynccontextmanager
async def stranger_with(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncIterator[Doors]:
    """What answers everything in the same way."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    listening = listen_on("127.0.0.1", 0)
    await web.SockSite(runner, listening).start()
    try:
        yield Doors([endpoint_of(listening)], TOKEN)
    finally:
        await runner.cleanup()


async def test_who_answers_but_is_no_node_is_named(address: str) -> None:
    async def greet(request: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>hello</html>", content_type="text/html")

    async with stranger_with(greet) as stranger:
        with pytest.raises(DoorError, match="not as a node does"):
            await stranger.get("/v1/status")
        with pytest.raises(DoorError, match="not as a node does"):
            await stranger.submit(simple())


async def test_an_address_that_is_none_is_named() -> None:
    with pytest.raises(DoorError, match="is no host:port"):
        await Doors(["http://x:y"], TOKEN).get("/v1/status")


async def test_who_waits_for_a_job_asks_for_all_of_it_once() -> None:
    asked: list[str] = []

    async def tell(request: web.Request) -> web.StreamResponse:
        asked.append(request.path_qs)
        is_end = asked.count("/v1/jobs/job?brief") > 2
        return web.json_response({"finished": is_end, "whole": not request.query_string})

    async with stranger_with(tell) as stranger:
        assert (await stranger.await_end("job", look_s=0.0))["whole"]
    told = [path for path in asked if path != "/healthz"]
    assert told == ["/v1/jobs/job?brief"] * 3 + ["/v1/jobs/job"]


async def test_a_job_is_told_briefly_as_among_all(address: str) -> None:
    async with Door(address, TOKEN) as door:
        await door.submit(simple())
        brief = await door.get(route("jobs", "job") + "?brief")
        assert brief["id"] == "job"
        assert "tasks" in await door.get(route("jobs", "job"))
        (row,) = await door.get("/v1/jobs")
    assert row.keys() == brief.keys()
