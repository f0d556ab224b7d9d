"""Large values by their hash: kept, and fetched part by part from several members."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import pytest
from journal_hand import opened, written
from lone_node import ALLOWED, ask, lone_node

from node.runtime import Runtime
from protocol import blobs, codec
from protocol.blobs import PART_SIZE, Blobs, Manifest
from protocol.clocks import SECOND
from protocol.effects import DropBlob, KeepManifest, KeepPart, Reply
from protocol.events import BlobAsked, BlobDropped, BlobPut
from protocol.identity import NodeId
from protocol.messages.sharing import BlobPart
from protocol.sim.host import Host
from protocol.sim.settled import settled_world
from protocol.sim.world import World
from protocol.turn import Turn

CONTENT = Random(1).randbytes(5 * PART_SIZE + 7)
ASKED = 7


def put(world: World, number: int, content: bytes = CONTENT) -> str:
    """The id of a content that a node has now."""
    host = world.hosts[number]
    host.submit(BlobPut(1, content))
    world.run(world.now + SECOND)
    assert host.replies[1].error == ""
    return host.replies[1].detail


def want(world: World, number: int, blob: str, seconds: int = 20) -> Reply:
    """A node asks for a blob, and time goes by."""
    host = world.hosts[number]
    host.submit(BlobAsked(ASKED, blob, seconds * SECOND))
    world.run(world.now + (seconds + 2) * SECOND, lambda: ASKED in host.replies)
    return host.replies[ASKED]


def content_on(host: Host, blob: str) -> bytes:
    _, parts = host.disk.blobs[blob]
    return b"".join(part for _, part in sorted(parts.items()))


# -- between nodes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, PART_SIZE, 5 * PART_SIZE + 7])
def test_a_blob_is_fetched_whole_from_who_has_it(size: int) -> None:
    world = settled_world(4, seed=1)
    blob = put(world, 0, CONTENT[:size])
    assert want(world, 3, blob) == Reply(ASKED, "", blob)
    assert content_on(world.hosts[3], blob) == CONTENT[:size]


def test_the_same_content_has_the_same_id_everywhere() -> None:
    world = settled_world(2, seed=1)
    assert put(world, 0) == put(world, 1)
    assert put(world, 0, b"other") != put(world, 0)


def test_lost_parts_are_asked_for_again() -> None:
    world = settled_world(4, seed=1)
    blob = put(world, 0)
    world.network.loss = 0.3  # of each way: half of the questions stay unanswered, for seconds each
    assert want(world, 3, blob, seconds=240).error == ""
    assert content_on(world.hosts[3], blob) == CONTENT


def test_a_fetch_goes_on_where_a_crash_has_ended_it() -> None:
    world = settled_world(3, seed=1)
    blob = put(world, 0)
    host = world.hosts[2]
    host.submit(BlobAsked(ASKED, blob, 30 * SECOND))
    world.run(world.now + 5 * SECOND, lambda: len(host.disk.blobs.get(blob, (b"", {}))[1]) > 0)
    host.crash("a power cut")
    kept = set(host.disk.blobs[blob][1])
    assert len(kept) > 0
    host.start_again()
    world.run(world.now + SECOND)
    assert host.peer is not None
    assert host.peer.blobs.held()[blob][1] == 6 - len(kept), "what was kept is known"
    assert want(world, 2, blob).error == ""
    assert content_on(host, blob) == CONTENT


def test_what_nobody_has_is_given_up_in_time() -> None:
    world = settled_world(3, seed=1)
    answer = want(world, 0, "ab" * 32, seconds=3)
    assert answer.error == "TimedOut"
    assert world.hosts[0].peer is not None
    assert world.hosts[0].peer.blobs.deadline() is None


def test_who_has_lost_a_part_is_no_source_of_it() -> None:
    world = settled_world(3, seed=1)
    blob = put(world, 0)
    assert want(world, 1, blob).error == ""
    del world.hosts[0].disk.blobs[blob][1][2]
    assert want(world, 2, blob, seconds=60).error == ""
    assert content_on(world.hosts[2], blob) == CONTENT


def test_a_dropped_blob_is_gone_here_and_can_be_had_again() -> None:
    world = settled_world(3, seed=1)
    blob = put(world, 0)
    assert want(world, 1, blob).error == ""
    world.hosts[0].submit(BlobDropped(9, blob))
    world.run(world.now + SECOND)
    assert blob not in world.hosts[0].disk.blobs
    assert want(world, 0, blob).error == ""


# -- what is not believed --------------------------------------------------------------------------

ADA, BOB = NodeId("ada"), NodeId("bob")


def asking(blob: str) -> Blobs:
    """A machine that has asked for a blob's manifest."""
    machine = Blobs((), Random(1))
    machine.ask(Turn(0, 0, 1), BlobAsked(1, blob, SECOND), [ADA])
    return machine


@pytest.mark.parametrize(
    "data",
    [
        b"garbage",
        codec.pack_value(Manifest(3, (bytes(32),))),
        codec.pack_value(Manifest(2**40, ())),
    ],
)
def test_a_manifest_that_is_not_the_one_is_thrown_away(data: bytes) -> None:
    machine = asking("ab" * 32)
    turn = Turn(1, 1, 1)
    machine.arrived(turn, ADA, BlobPart("ab" * 32, 0, data), [ADA, BOB])
    assert machine.held() == {}
    assert turn.records == []
    assert [item[0] for item in turn.before if isinstance(item, tuple)] == [BOB]


def test_a_manifest_of_impossible_size_is_not_believed_even_under_its_own_hash() -> None:
    data = codec.pack_value(Manifest(2**40, (bytes(32),)))
    blob = blobs._hash(data).hex()
    machine = asking(blob)
    machine.arrived(Turn(1, 1, 1), ADA, BlobPart(blob, 0, data), [ADA])
    assert machine.held() == {}


def test_a_part_with_another_hash_is_asked_of_somebody_else() -> None:
    data = codec.pack_value(Manifest(3, (blobs._hash(b"yes"),)))
    blob = blobs._hash(data).hex()
    machine = asking(blob)
    machine.arrived(Turn(1, 1, 1), ADA, BlobPart(blob, 0, data), [ADA])
    turn = Turn(2, 2, 1)
    machine.arrived(turn, ADA, BlobPart(blob, 1, b"no!"), [ADA, BOB])
    assert not any(isinstance(record, KeepPart) for record in turn.records)
    assert [item[0] for item in turn.before if isinstance(item, tuple)] == [BOB]
    last = Turn(3, 3, 1)
    machine.arrived(last, BOB, BlobPart(blob, 1, b"yes"), [ADA, BOB])
    assert last.records == [KeepPart(blob, 1, b"yes")]
    assert machine.size_of(blob) == 3


def test_what_was_not_asked_for_is_not_taken() -> None:
    machine = Blobs((), Random(1))
    turn = Turn(1, 1, 1)
    machine.arrived(turn, ADA, BlobPart("ab" * 32, 0, b""), [ADA])
    assert (turn.records, machine.held()) == ([], {})


def test_the_number_of_fetches_is_bounded() -> None:
    machine = Blobs((), Random(1))
    turn = Turn(0, 0, 1)
    for number in range(blobs.FETCHES_MAX + 1):
        machine.ask(turn, BlobAsked(number, f"{number:064x}", SECOND), [ADA])
    refused = [item for item in turn.before if isinstance(item, Reply)]
    assert [reply.error for reply in refused] == ["Busy"]


# -- on disk, and at the door ----------------------------------------------------------------------


async def test_a_journal_keeps_parts_and_notices_damage(tmp_path: Path) -> None:
    manifest = Manifest(6, (blobs._hash(b"one"), blobs._hash(b"two")))
    encoded = codec.pack_value(manifest)
    blob = blobs._hash(encoded).hex()
    with opened(tmp_path) as journal:
        journal.load()
        await written(
            journal,
            (KeepManifest(blob, encoded), KeepPart(blob, 1, b"one")),
            (KeepManifest("cd" * 32, b"another"), DropBlob("cd" * 32)),
        )
        assert (journal.read_part(blob, 1), journal.read_part(blob, 2)) == (b"one", None)
    (tmp_path / "blobs" / blob / "\N{SUPERSCRIPT TWO}").touch()  # a digit, and no number
    with opened(tmp_path) as journal:
        assert journal.load().blobs == ((blob, encoded, frozenset({1})),)
        (tmp_path / "blobs" / blob / "1").write_bytes(b"0ne")
        assert journal.read_part(blob, 1) is None


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[tuple[str, Runtime]]:
    async with lone_node(tmp_path) as found:
        yield found


async def test_a_client_brings_and_gets_a_blob(node: tuple[str, Runtime]) -> None:
    status, found = await ask(node[0], "PUT", "/v1/blobs", CONTENT, **ALLOWED)
    assert (status, found["size"]) == (200, len(CONTENT))
    url = f"http://{node[0]}/v1/blobs/{found['blob']}"
    async with aiohttp.ClientSession() as session, session.get(url, headers=ALLOWED) as response:
        assert await response.read() == CONTENT
    _, rows = await ask(node[0], "GET", "/v1/blobs", b"", **ALLOWED)
    assert rows == [{"blob": found["blob"], "size": len(CONTENT), "lacks": 0}]


@pytest.mark.parametrize(
    ("method", "path", "status", "complaint"),
    [
        ("GET", "/v1/blobs/short", 400, "64 hexadecimal digits"),
        ("GET", f"/v1/blobs/{'ab' * 32}?timeout_s=often", 400, "number of seconds"),
        ("GET", f"/v1/blobs/{'ab' * 32}?timeout_s=\N{SUPERSCRIPT TWO}", 400, "number of seconds"),
        ("GET", f"/v1/blobs/{'ab' * 32}?timeout_s=0.1", 504, "in time"),
        ("DELETE", f"/v1/blobs/{'ab' * 32}", 409, "no such blob"),
    ],
)
async def test_what_cannot_be_had_is_said(
    node: tuple[str, Runtime], method: str, path: str, status: int, complaint: str
) -> None:
    found: tuple[int, dict[str, Any]] = await ask(node[0], method, path, b"", **ALLOWED)
    assert found[0] == status
    assert complaint in found[1]["detail"]


async def test_a_content_that_is_too_large_is_refused(
    node: tuple[str, Runtime], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.doors.blobs.BLOB_SIZE_MAX", 10)
    status, answer = await ask(node[0], "PUT", "/v1/blobs", bytes(11), **ALLOWED)
    assert (status, answer["error"]) == (413, "TooLarge")
