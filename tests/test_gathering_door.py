"""Events, queries, joining, forgetting and shared values, as a client asks for them over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from command_line import quorate_here
from lone_node import ALLOWED, READ, ask, lone_node

from node.runtime import Runtime
from protocol import codec
from protocol.events import Received
from protocol.facts.sharing import EventReceived
from protocol.identity import Identity
from protocol.membership import sign_record
from protocol.messages.membership import MemberRecord, MemberSync, News
from protocol.store import Store
from protocol.store.families import Number

Node = tuple[str, Runtime]


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with lone_node(tmp_path) as found:
        yield found


async def post(node: Node, path: str, content: object) -> tuple[int, dict[str, Any]]:
    return await ask(node[0], "POST", path, json.dumps(content).encode(), **READ)


async def put(node: Node, key: str, value: bytes) -> int:
    status, _ = await ask(node[0], "PUT", f"/v1/entries/{key}", value, **ALLOWED)
    return status


async def get(node: Node, key: str) -> tuple[int, dict[str, Any]]:
    return await ask(node[0], "GET", f"/v1/entries/{key}", b"", **ALLOWED)


# -- events and queries ----------------------------------------------------------------------------


async def test_an_announcement_comes_back_as_a_fact(node: Node) -> None:
    runtime = node[1]
    with runtime.telemetry.subscribe() as facts:
        assert await post(node, "/v1/announce", {"name": "deploy", "payload": "v2"}) == (
            200,
            {"announced": "deploy"},
        )
        async with asyncio.timeout(5):
            while (fact := await facts.get())["type"] != EventReceived.__name__:
                pass
    assert (fact["name"], fact["payload"], fact["origin"]) == ("deploy", "v2", runtime.peer.node)


@pytest.mark.parametrize(("name", "expected"), [("ping", "pong"), ("role", "leader term")])
async def test_a_node_answers_what_it_knows(node: Node, name: str, expected: str) -> None:
    status, found = await post(node, "/v1/query", {"name": name})
    assert status == 200
    assert found["silent"] == []
    assert found["answers"]["n1"].startswith(expected)


@pytest.mark.parametrize(
    ("path", "content", "complaint"),
    [
        ("/v1/announce", {"name": ""}, "1 to 64 characters"),
        ("/v1/announce", {"name": "n", "payload": "x" * 9_000}, "over 8192 bytes"),
        ("/v1/announce", {"name": 7}, "are texts"),
        ("/v1/query", {"name": "n", "timeout_s": 0}, "number up to 60"),
        ("/v1/query", {"name": "n", "timeout_s": True}, "number up to 60"),
        ("/v1/join", {"seeds": []}, "1 to 16 addresses"),
        ("/v1/join", {"seeds": ["nowhere:x"]}, "is no address: the port must be"),
        ("/v1/join", {"seed": []}, "there is no 'seed' here"),
        ("/v1/tags", {"role": 7}, "is a text"),
        ("/v1/tags", {"a role": "x"}, "letters, digits"),
        ("/v1/tags", {str(number): "x" for number in range(11)}, "10 tags at most"),
        ("/v1/tags", {"role": "x" * 2_000}, "2000 characters at most"),
        ("/v1/announce", ["n"], "expected a JSON object"),
    ],
)
async def test_what_cannot_be_done_is_named(
    node: Node, path: str, content: object, complaint: str
) -> None:
    status, answer = await post(node, path, content)
    assert status == 400
    assert complaint in answer["detail"]


async def test_more_seeds_are_called(node: Node) -> None:
    assert (await post(node, "/v1/join", {"seeds": ["127.0.0.1:9"]}))[0] == 200
    assert node[1].peer.membership.seeds == ("127.0.0.1:9",)


async def test_an_operator_tells_of_a_node_and_takes_it_back(node: Node) -> None:
    for said, tags in (
        ({"role": "gpu", "rack": "7"}, {"role": "gpu", "rack": "7"}),
        ({"rack": "", "never": ""}, {"role": "gpu"}),
    ):
        assert await post(node, "/v1/tags", said) == (200, {"tags": tags})
        _, [member] = await ask(node[0], "GET", "/v1/members", b"", **ALLOWED)
        assert member["tags"] == tags


async def test_nobody_is_forgotten_who_is_not_known(node: Node) -> None:
    status, answer = await post(node, "/v1/forget", {"node": "n9"})
    assert (status, answer["error"]) == (404, "NotFound")


async def test_no_answer_is_lost_among_nodes_of_one_name(node: Node) -> None:
    peer = node[1].peer
    twin = Identity(b"t" * 32)
    record = MemberRecord(twin.public_key, "n1", (), 1, 0, False, (), b"")
    signed = sign_record(twin, "doors", record)
    node[1].deliver(Received(twin.node, MemberSync(News((signed,)))))
    _, found = await post(node, "/v1/query", {"name": "ping", "timeout_s": 0.2})
    mine, other = f"n1 ({peer.node[:8]})", f"n1 ({twin.node[:8]})"
    assert found == {"answers": {mine: "pong"}, "silent": [other], "unknown": []}


async def test_a_node_says_that_it_does_not_know_a_query(node: Node) -> None:
    _, found = await post(node, "/v1/query", {"name": "weather"})
    assert found == {"answers": {}, "silent": [], "unknown": ["n1"]}


def test_who_asks_what_nobody_knows_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found: dict[str, object] = {"answers": {}, "silent": [], "unknown": ["n1"]}
    monkeypatch.setattr("node.cli.gathering_verbs._post", lambda *_: found)
    done = quorate_here("query", "weather", folder=Path.cwd())
    assert done.returncode == 1
    assert done.stdout == "n1        (does not know such queries)\n"
    assert "quorate node --answer weather=PROGRAM" in done.stderr
    found |= {"answers": {"n2": "fair"}}
    done = quorate_here("query", "weather", folder=Path.cwd())
    assert (done.returncode, done.stderr) == (0, "")


# -- entries ---------------------------------------------------------------------------------------


async def test_an_entry_is_what_was_written_last_here(node: Node) -> None:
    for value in (b"one", b"two"):
        assert await put(node, "a/b", value) == 200
    status, found = await get(node, "a/b")
    assert (status, found["value"]) == (200, ["two"])
    (version,) = found["versions"]
    assert (version["author"], version["sequence"], version["value"]) == ("n1", 2, "two")


async def test_families_merge_in_their_way(node: Node) -> None:
    for key, values in {
        "max/m": (b"3", b"9", b"5"),
        "sum/s": (b"3", b"9", b"5"),
        "set/t": (b"x", b"y", b"x"),
        "last/l": (b"x", b"\xff"),
    }.items():
        for value in values:
            assert await put(node, key, value) == 200
    assert (await get(node, "max/m"))[1]["value"] == 9
    assert (await get(node, "sum/s"))[1]["value"] == 17
    assert (await get(node, "set/t"))[1]["value"] == ["x", "y"]
    assert (await get(node, "last/l"))[1]["value"] == {"base64": "/w=="}


async def test_a_deleted_entry_is_gone(node: Node) -> None:
    await put(node, "k", b"v")
    assert (await ask(node[0], "DELETE", "/v1/entries/k", b"", **ALLOWED))[0] == 200
    assert (await get(node, "k"))[0] == 404


async def test_of_a_sum_a_node_takes_back_only_its_own_part(node: Node) -> None:
    other = Identity(b"o" * 32)
    part, _ = Store(other, "doors", 9).write([("user/sum/s", codec.pack_value(Number(4)))], 1)
    node[1].peer.store.merge(part)
    await put(node, "sum/s", b"3")
    assert (await get(node, "sum/s"))[1]["value"] == 7
    _, found = await ask(node[0], "DELETE", "/v1/entries/sum/s", b"", **ALLOWED)
    assert found["remains"] == {"value": 4, "authors": [other.node]}
    assert (await get(node, "sum/s"))[1]["value"] == 4
    _, found = await ask(node[0], "DELETE", "/v1/entries/k", b"", **ALLOWED)
    assert found == {"key": "k", "is_sum": False, "remains": None}


def told_by_verb(monkeypatch: pytest.MonkeyPatch, answer: object, *options: str) -> list[str]:
    """What `quorate entry KEY` prints of what a door answers."""

    class Stub:
        async def get(self, path: str) -> object:
            return answer

        async def first(self, asking: object) -> object:
            return answer

    monkeypatch.setattr("node.cli.entry_verb.doors_of", lambda folder, node: Stub())
    done = quorate_here("entry", "key", *options, folder=Path.cwd())
    assert done.returncode == 0
    return done.stdout.splitlines()


def test_only_what_nobody_has_merged_is_shown_with_its_authors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    siblings = [{"author": "n1", "value": "x"}, {"author": "a-long-name", "value": "y"}]
    found = {"value": ["x", "y"], "versions": siblings}
    assert told_by_verb(monkeypatch, found) == ["n1        x", "a-long-name y"]
    merged = {"value": ["x", "y"], "versions": [{"author": "n1"}, {"author": "n2"}]}
    assert told_by_verb(monkeypatch, merged) == ["x", "y"]


def test_who_deletes_is_told_what_remains(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = {"key": "sum/s", "is_sum": True, "remains": None}
    assert told_by_verb(monkeypatch, gone, "--delete") == [
        "took back what this node had added to sum/s; nothing else of it is known here"
    ]
    plain = {"key": "k", "is_sum": False, "remains": None}
    assert told_by_verb(monkeypatch, plain, "--delete") == ["deleted k"]
    later = {**plain, "remains": {"value": ["v"], "authors": ["n2"]}}
    assert "written meanwhile by n2" in told_by_verb(monkeypatch, later, "--delete")[0]
    left = {**gone, "remains": {"value": 4, "authors": ["n2", "n3"]}}
    (line,) = told_by_verb(monkeypatch, left, "--delete")
    assert line.startswith("took back what this node had added to sum/s; what n2, n3 added remains")
    assert "4 in all" in line


@pytest.mark.parametrize(
    ("key", "value", "status"),
    [
        ("k" * 257, b"v", 400),
        ("max/k", b"-1", 400),
        ("sum/k", b"many", 400),
        ("sum/k", b"9" * 20, 400),
        ("k", bytes(256 * 1024 + 1), 413),
    ],
)
async def test_an_entry_out_of_bounds_is_refused(
    node: Node, key: str, value: bytes, status: int
) -> None:
    assert await put(node, key, value) == status
    assert (await get(node, key))[0] == 404


async def test_keys_are_listed_by_their_beginning(node: Node) -> None:
    for key in ("a/1", "a/2", "b/1"):
        await put(node, key, b"")
    _, found = await ask(node[0], "GET", "/v1/entries?prefix=a/", b"", **ALLOWED)
    assert found == {"keys": ["a/1", "a/2"], "more": False}
