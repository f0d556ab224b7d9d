"""The registers over HTTP: the same answers by the short way and by the framework's."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import aiohttp
import msgpack
import pytest
from lone_node import ALLOWED, READ, TOKEN, ask, lone_node
from yarl import URL

from node.doors import MSGPACK
from node.doors.lane import BUFFER_SIZE_MAX, Lanes
from node.doors.registers import BATCH_MAX, LIST_MAX
from node.runtime import Runtime
from protocol.effects import Refused
from protocol.registers import KEY_LENGTH_MAX, VALUE_SIZE_MAX, Command, Verb

LONG_WAY = {"X-Way": "long"}  # a header that the short way leaves to the framework


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[tuple[str, Runtime]]:
    async with lone_node(tmp_path) as found:
        yield found


@pytest.fixture
def address(node: tuple[str, Runtime]) -> str:
    return node[0]


class Told(NamedTuple):
    status: int
    body: bytes
    revision: str

    @property
    def error(self) -> str:
        return str(json.loads(self.body)["error"])


class Client:
    """Asks by one of the two ways, and looks that it was that one."""

    def __init__(self, address: str, is_short: bool) -> None:
        self.address = address
        self.is_short = is_short

    async def __call__(
        self, method: str, key: str, body: bytes | None = None, **headers: str
    ) -> Told:
        named = {**ALLOWED, **({} if self.is_short else LONG_WAY)}
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        url = URL(f"http://{self.address}/v1/registers/{key}", encoded=True)
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, url, data=body, headers=named) as response,
        ):
            assert ("Server" not in response.headers) == self.is_short, "the way that was meant"
            revision = response.headers.get("Quorate-Revision", "")
            return Told(response.status, await response.read(), revision)


@pytest.fixture(params=["short", "long"])
def client(address: str, request: pytest.FixtureRequest) -> Client:
    return Client(address, request.param == "short")


# -- one register ----------------------------------------------------------------------------------


async def test_what_was_put_is_read_with_its_revision(client: Client) -> None:
    assert await client("PUT", "k", b"one") == (200, b'{"revision": 1}', "")
    assert await client("PUT", "k", b"\x00\xff") == (200, b'{"revision": 2}', "")
    for consistency in (
        "",
        "?consistency=linearizable",
        "?consistency=lease",
        "?consistency=local",
    ):
        assert await client("GET", f"k{consistency}") == (200, b"\x00\xff", "2")


async def test_what_was_deleted_is_not_there(client: Client) -> None:
    await client("PUT", "k", b"one")
    assert await client("DELETE", "k") == (200, b'{"revision": 2}', "")
    told = await client("GET", "k")
    assert (told.status, told.error) == (404, "NotFound")
    assert (await client("DELETE", "k")).status == 200, "whether or not there was one"


async def test_an_empty_value_is_a_value(client: Client) -> None:
    await client("PUT", "k", b"")
    assert await client("GET", "k") == (200, b"", "1")


async def test_a_condition_that_does_not_hold_changes_nothing(client: Client) -> None:
    assert (await client("PUT", "k?absent=1", b"one")).status == 200
    for query in ("?absent=1", "?expect=two", "?expect="):
        told = await client("PUT", f"k{query}", b"never")
        assert (told.status, told.error) == (412, "Unequal")
    assert (await client("PUT", "k?expect=one", b"two")).status == 200
    wrong = base64.b64encode(b"one").decode()
    assert (await client("PUT", "k", b"never", Quorate_Expect=wrong)).status == 412
    right = base64.b64encode(b"two").decode()
    assert (await client("PUT", "k", b"\xff", Quorate_Expect=right)).status == 200
    assert await client("GET", "k") == (200, b"\xff", "3")


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        *(("a/b", "a/b"), ("a%2Fb", "a/b"), ("%C3%BC", "ü"), ("a+b", "a+b"), ("a%20b", "a b")),
        *(("a%3Fb", "a?b"), ("a%25b", "a%b"), ("%00", "\0"), ("%F0%9F%90%99", "🐙")),
    ],
)
async def test_a_key_is_what_the_path_says(
    client: Client, node: tuple[str, Runtime], raw: str, key: str
) -> None:
    assert (await client("PUT", raw, b"v")).status == 200
    assert [found for found, _ in node[1].peer.registers.scan()] == [key]
    assert (await client("GET", raw)).body == b"v"


@pytest.mark.parametrize(
    ("method", "what", "fault"),
    [
        ("PUT", "k?expekt=1", "there is no parameter 'expekt': known are expect, absent"),
        ("PUT", "k?absent=1&expect=x", "one condition is enough"),
        ("PUT", "k?expect=x&expect=y", "a parameter is there twice"),
        ("PUT", "k?absent=0", "?absent=1 writes if there is no value"),
        ("PUT", "k?nonsense", "the query is not name=value"),
        ("PUT", "%FF", "a key is UTF-8"),
        ("PUT", "k" * (KEY_LENGTH_MAX + 1), f"a key has 1 to {KEY_LENGTH_MAX} characters"),
        ("DELETE", "k?expect=1", "there is no parameter 'expect': none is taken here"),
        ("GET", "k?consistency=strong", "choose one of linearizable, lease, local"),
    ],
)
async def test_a_request_that_cannot_be_meant_is_refused(
    client: Client, method: str, what: str, fault: str
) -> None:
    told = await client(method, what, b"v" if method == "PUT" else None)
    assert (told.status, told.error) == (400, "BadRequest")
    assert fault in json.loads(told.body)["detail"]


async def test_a_condition_in_bytes_is_base64(client: Client) -> None:
    told = await client("PUT", "k", b"v", Quorate_Expect="???")
    assert (told.status, told.error) == (400, "BadRequest")


async def test_a_value_has_a_largest_size(address: str) -> None:
    """Beyond it the framework answers, whatever way the request would have gone."""
    client = Client(address, is_short=True)
    assert (await client("PUT", "k", bytes(VALUE_SIZE_MAX))).status == 200
    assert (await client("GET", "k")).body == bytes(VALUE_SIZE_MAX)
    told = await Client(address, is_short=False)("PUT", "k", bytes(VALUE_SIZE_MAX + 1))
    assert (told.status, told.error) == (413, "TooLarge")


async def test_nobody_writes_without_the_token(address: str) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        status, answer = await ask(address, "PUT", "/v1/registers/k", b"v", **headers)
        assert (status, answer["error"]) == (401, "Unauthorized")
    status, answer = await ask(
        address, "PUT", "/v1/registers/k", b"v", Origin="http://evil.example", **ALLOWED
    )
    assert status == 403
    status, answer = await ask(
        address, "PUT", "/v1/registers/k", b"v", Host="evil.example", **ALLOWED
    )
    assert status == 403


@pytest.mark.parametrize(("error", "status"), [("Busy", 503), ("NoLeader", 503), ("TimedOut", 504)])
async def test_an_error_says_whether_it_may_have_happened(
    client: Client,
    node: tuple[str, Runtime],
    monkeypatch: pytest.MonkeyPatch,
    error: str,
    status: int,
) -> None:
    peer = node[1].peer

    def refuse(turn: object, first: int, commands: tuple[Command, ...]) -> None:
        turn.perform(Refused(first, len(commands), error, "so it is", True))  # type: ignore[attr-defined]

    monkeypatch.setattr(peer.consensus.clerk, "command", refuse)
    told = await client("PUT", "k", b"v")
    assert (told.status, told.error) == (status, error)
    body = json.dumps([["put", "a", "1"], ["put", "b", "2"]]).encode()
    found, answer = await ask(client.address, "POST", "/v1/registers", body, **READ)
    assert (found, answer["error"]) == (status, error)


async def test_a_node_that_stops_says_that_it_may_have_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()
    async with lone_node(tmp_path, found=False) as (address, runtime):
        command = runtime.command

        def begin(wanted: Command) -> asyncio.Future[int]:
            begun.set()
            return command(wanted)

        monkeypatch.setattr(runtime, "command", begin)
        asking = asyncio.create_task(Client(address, is_short=True)("PUT", "k", b"v"))
        await begun.wait()
        runtime.stop()
        told = await asking
        assert (told.status, told.error) == (504, "TimedOut")
        told = await Client(address, is_short=True)("PUT", "k", b"v")
        assert (told.status, told.error) == (503, "Busy")


# -- the short way, byte by byte -------------------------------------------------------------------

HEAD = f"Host: localhost\r\nAuthorization: Bearer {TOKEN}\r\n".encode()


async def exchange(address: str, *pieces: bytes, answers: int = 1) -> list[tuple[int, bytes, bool]]:
    """Send pieces of bytes, one after the other is read; status, body, and whether the framework
    answered, of each answer."""
    host, _, port = address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        for _ in range(10):  # turns of the loop, which is the node's too: it reads the piece
            await asyncio.sleep(0)
    found = []
    for _ in range(answers):
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        )
        body = await reader.readexactly(length)
        found.append((int(head.split()[1]), body, b"\r\nServer:" in head))
    writer.close()
    return found


def put(key: bytes, value: bytes, extra: bytes = b"") -> bytes:
    head = b"PUT /v1/registers/%s HTTP/1.1\r\n%s%sContent-Length: %d\r\n\r\n"
    return head % (key, HEAD, extra, len(value)) + value


GET = b"GET /v1/registers/k HTTP/1.1\r\n%s\r\n" % HEAD


async def test_requests_without_waiting_are_answered_in_their_order(address: str) -> None:
    pieces = [put(b"k", b"%d" % number) + GET for number in range(20)]
    told = await exchange(address, b"".join(pieces), answers=40)
    assert [body for _, body, _ in told[1::2]] == [b"%d" % number for number in range(20)]
    assert [json.loads(body)["revision"] for _, body, _ in told[0::2]] == list(range(1, 21))
    assert not any(by_framework for _, _, by_framework in told)


async def test_a_body_may_come_later_than_its_head(address: str) -> None:
    whole = put(b"k", b"x" * 1000)
    end = whole.index(b"\r\n\r\n") + 4
    told = await exchange(
        address, whole[:end], whole[end : end + 500], whole[end + 500 :] + GET, answers=2
    )
    assert told == [(200, b'{"revision": 1}', False), (200, b"x" * 1000, False)]


async def test_a_head_in_pieces_is_the_frameworks(address: str) -> None:
    whole = put(b"k", b"v")
    assert (await exchange(address, whole[:30], whole[30:])) == [(200, b'{"revision": 1}', True)]


async def test_what_follows_a_handed_over_request_is_answered_too(address: str) -> None:
    status = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    told = await exchange(address, put(b"k", b"v") + GET + status + GET + status, answers=5)
    assert [code for code, _, _ in told] == [200] * 5
    assert [by_framework for _, _, by_framework in told] == [False, False, True, True, True]


@pytest.mark.parametrize(
    "extra",
    [
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Length: 1\r\n",
        b"Expect: 100-continue\r\n",
        b"Connection: close\r\n",
        b"Content-Encoding: gzip\r\n",
        b"Host: localhost\r\n",
        b"X-Any: thing\r\n",
        b" folded: line\r\n",
        b"no colon\r\n",
        b"X\x00: y\r\n",
        b"Accept: \xff\r\n",
        b"Accept : x\r\n",
    ],
)
async def test_what_is_not_plain_is_left_to_the_framework(address: str, extra: bytes) -> None:
    lanes = Lanes(None, lambda host, token: True, None)  # type: ignore[arg-type]
    fields = put(b"k", b"v", extra).split(b"\r\n\r\n")[0].partition(b"\r\n")[2]
    assert lanes.read(fields) is None


@pytest.mark.parametrize(
    "line",
    [
        b"PUT /v1/registers/k HTTP/1.0",
        b"PUT /v1/registers/ HTTP/1.1",
        b"PUT /v1/registers HTTP/1.1",
        b"PUT http://localhost/v1/registers/k HTTP/1.1",
        b"PUT /v1/registers/k#x HTTP/1.1",
        b"PUT /v1/registers/\xff HTTP/1.1",
        b"PUT  /v1/registers/k HTTP/1.1",
        b"put /v1/registers/k HTTP/1.1",
        b"PATCH /v1/registers/k HTTP/1.1",
        b"GET /v1/registersk HTTP/1.1",
    ],
)
async def test_an_odd_first_line_is_the_frameworks(address: str, line: bytes) -> None:
    request = line + b"\r\n" + HEAD + b"Content-Length: 1\r\nConnection: close\r\n\r\nv"
    ((_, _, by_framework),) = await exchange(
        address, request.replace(b"Connection: close\r\n", b"")
    )
    assert by_framework


async def test_a_body_of_a_read_is_the_frameworks(address: str) -> None:
    body = GET.replace(b"\r\n\r\n", b"\r\nContent-Length: 1\r\n\r\nx")
    told = await exchange(address, put(b"k", b"v"), body, answers=2)
    assert [by_framework for _, _, by_framework in told] == [False, True]


async def test_garbage_is_answered_by_the_framework(address: str) -> None:
    ((status, _, by_framework),) = await exchange(address, b"\x16\x03\x01\x00\xff garbage\r\n\r\n")
    assert (status, by_framework) == (400, True)


async def test_a_client_that_goes_away_harms_nobody(address: str) -> None:
    host, _, port = address.partition(":")
    for piece in (b"", b"PUT", put(b"k", b"v"), put(b"k", b"v")[:-1], put(b"k", b"v") * 50):
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(piece)
        await writer.drain()
        writer.transport.abort()
    assert (await Client(address, is_short=True)("PUT", "k", b"last")).status == 200


async def test_who_sends_much_and_reads_nothing_is_not_read_on(
    address: str, node: tuple[str, Runtime]
) -> None:
    host, _, port = address.partition(":")
    await Client(address, is_short=True)("PUT", "k", bytes(VALUE_SIZE_MAX))
    _, writer = await asyncio.open_connection(host, int(port), limit=1024)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    sent = 0
    while writer.transport.get_write_buffer_size() < BUFFER_SIZE_MAX and sent < 200_000:
        writer.write(GET * 1_000)
        sent += 1_000
        await asyncio.sleep(0)
    assert sent < 200_000, "the node has stopped reading"
    assert (await Client(address, is_short=True)("GET", "k")).status == 200, "others are served"
    writer.transport.abort()


# -- many ------------------------------------------------------------------------------------------


async def batch(address: str, content: object, packed: bool) -> tuple[int, dict[str, object]]:
    body = msgpack.packb(content) if packed else json.dumps(content).encode()
    headers = {**ALLOWED, "Content-Type": MSGPACK if packed else "application/json"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"http://{address}/v1/registers", data=io.BytesIO(body), headers=headers
        ) as response,
    ):
        answer = await response.read()
        if response.content_type == MSGPACK:
            return response.status, msgpack.unpackb(answer)
        return response.status, json.loads(answer)


@pytest.mark.parametrize("packed", [True, False])
async def test_a_batch_is_done_in_its_order_and_answered_one_by_one(
    address: str, packed: bool
) -> None:
    commands = [
        ["put", "a", "1"],
        ["cas", "a", "2", "1"],
        ["cas", "a", "3", "1"],
        ["cas", "b", "1", None],
        ["cas", "b", "2"],
        ["delete", "a"],
        ["delete", "never"],
    ]
    unequal = {
        "error": "Unequal",
        "detail": "the value is not the expected one: nothing was changed",
    }
    status, answer = await batch(address, commands, packed)
    assert (status, answer) == (200, {"results": [1, 2, unequal, 3, unequal, 4, 5]})
    assert (await Client(address, is_short=True)("GET", "b")).body == b"1"


async def test_values_of_a_packed_batch_are_any_bytes(address: str) -> None:
    await batch(address, [["put", "k", b"\xff\x00"], ["cas", "k", b"\xfe", b"\xff\x00"]], True)
    assert (await Client(address, is_short=True)("GET", "k")).body == b"\xfe"


async def test_a_batch_larger_than_a_log_entry_is_answered_whole(address: str) -> None:
    content = [["put", f"k{number % 7}", b"x" * 500] for number in range(BATCH_MAX)]
    status, answer = await batch(address, content, packed=True)
    assert (status, answer) == (200, {"results": list(range(1, BATCH_MAX + 1))})
    assert await batch(address, [], packed=True) == (200, {"results": []})


@pytest.mark.parametrize(
    ("content", "status", "fault"),
    [
        ({}, 400, "expected an array of [verb, key, value, expected]"),
        ([["put", "a", "1"], 7], 400, "command 2: expected [verb, key, value, expected]"),
        ([["steal", "a"]], 400, "command 1: there is no verb 'steal'"),
        ([[1, "a", "b"]], 400, "command 1: there is no verb 1"),
        ([["put", 7, "b"]], 400, "command 1: a key is text"),
        ([["put", "", "b"]], 400, "command 1: a key has 1 to"),
        ([["put", "a"]], 400, "command 1: a value is text or bytes"),
        ([["put", "a", 7]], 400, "command 1: a value is text or bytes"),
        ([["cas", "a", "b", 7]], 400, "command 1: what is expected is text, bytes or null"),
        ([["put", "a", "x" * (VALUE_SIZE_MAX + 1)]], 400, "command 1: a value has at most"),
        ([["cas", "a", "", "x" * (VALUE_SIZE_MAX + 1)]], 400, "command 1: a value has at most"),
        ([["delete", "a"]] * (BATCH_MAX + 1), 413, f"a batch has at most {BATCH_MAX} commands"),
    ],
)
@pytest.mark.parametrize("packed", [True, False])
async def test_a_batch_with_a_fault_in_it_does_nothing(
    address: str,
    node: tuple[str, Runtime],
    content: object,
    status: int,
    fault: str,
    packed: bool,
) -> None:
    found, answer = await batch(address, content, packed)
    assert found == status
    assert fault in str(answer["detail"])
    assert node[1].peer.registers.revision == 0


async def test_a_body_that_is_not_what_it_says_is_refused(address: str) -> None:
    for kind in ("application/json", MSGPACK):
        for body in (b"", b"\xc1", b"[" * 60_000, b"\xdd\xff\xff\xff\xff", b"\x91" * 60_000):
            status, answer = await ask(
                address, "POST", "/v1/registers", body, Content_Type=kind, **ALLOWED
            )
            assert (status, answer["error"]) == (400, "BadRequest"), (kind, body[:4])


async def test_a_key_that_has_no_bytes_is_refused(address: str) -> None:
    body = rb'[["put", "\ud800", "v"]]'
    status, answer = await ask(address, "POST", "/v1/registers", body, **READ)
    assert (status, answer["error"]) == (400, "BadRequest")
    assert "without lone surrogates" in str(answer["detail"])


# -- lists -----------------------------------------------------------------------------------------


async def test_keys_are_listed_by_their_prefix_and_page_by_page(address: str) -> None:
    names = [f"a/{number:05}" for number in range(LIST_MAX + 5)]
    await batch(address, [["put", name, "xyz"] for name in (*names, "b/1", "b/2")], packed=True)
    _, first = await ask(address, "GET", "/v1/registers?prefix=a/", b"", **ALLOWED)
    rows = first["registers"]
    assert isinstance(rows, list)
    assert rows[0] == {"key": "a/00000", "revision": 1, "size": 3}
    assert (len(rows), first["more"]) == (LIST_MAX, True)
    _, rest = await ask(
        address, "GET", f"/v1/registers?prefix=a/&after={rows[-1]['key']}", b"", **ALLOWED
    )
    assert rest["more"] is False
    assert rest["revision"] == len(names) + 2
    assert [row["key"] for row in [*rows, *rest["registers"]]] == names  # type: ignore[misc]
    status, answer = await ask(address, "GET", "/v1/registers?prefixx=a", b"", **ALLOWED)
    assert (status, answer["error"]) == (400, "BadRequest")


# -- underneath ------------------------------------------------------------------------------------


async def test_commands_of_several_clients_travel_together_and_keep_their_order(
    node: tuple[str, Runtime],
) -> None:
    runtime = node[1]
    one = runtime.command(Command(Verb.PUT, "k", b"1"))
    two = runtime.commands([Command(Verb.PUT, "k", b"2"), Command(Verb.PUT, "k", b"3")])
    three = runtime.command(Command(Verb.PUT, "k", b"4"))
    assert (await one, await two, await three) == (1, [2, 3], 4)
