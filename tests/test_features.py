"""Feature bits: what two nodes may do beyond their version, and the one there is, compression."""

from __future__ import annotations

import os
import zlib

import pytest
from test_transport import Node, eventually, started

from node.links import features, handshake
from node.links.compression import COMPRESSED_SIZE_MIN, compressed, expanded
from node.links.features import Feature
from node.links.outbox import MESSAGE_SIZE_MAX
from protocol.config import PRESETS
from protocol.errors import RemoteProtocolError
from protocol.events import Received
from protocol.messages.sharing import Push

TEXT = b"The quick brown fox jumps over the lazy dog. " * 2_000
MARK = b"\xff\xff\xff\xff"


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("1", Feature.COMPRESSION),
        ("fffffffffffffffe", Feature(0)),  # of a later node
        ("ffffffffffffffff", Feature.COMPRESSION),
        ("0", Feature(0)),
        ("", Feature(0)),  # of a node that knows of no features
        ("1" * 17, Feature(0)),
        ("-1", Feature(0)),
        ("0x1", Feature(0)),
        ("one", Feature(0)),
        ("1\n", Feature(0)),
    ],
)
def test_bits_that_are_not_known_are_left_alone(text: str, known: Feature) -> None:
    assert features.read(text) == known


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_bits_are_read_as_they_were_written(preset: str) -> None:
    offered = features.offered(preset)
    assert features.read(features.written(offered)) == offered
    assert features.names(offered) == (["compression"] if preset == "wan" else [])


@pytest.mark.parametrize(
    "bundle", [b"", b"short", TEXT[:COMPRESSED_SIZE_MIN], TEXT, os.urandom(50_000)]
)
def test_a_bundle_comes_out_as_it_went_in(bundle: bytes) -> None:
    travels = compressed(bundle)
    assert expanded(travels) == bundle
    assert len(travels) <= len(bundle)


def test_text_is_made_smaller_and_keys_are_not_tried() -> None:
    assert len(compressed(TEXT)) < len(TEXT) / 10
    keys = os.urandom(50_000)
    assert compressed(keys) is keys
    half = TEXT[:20_000] + os.urandom(60_000)  # its middle does not shrink
    assert compressed(half) is half


@pytest.mark.parametrize(
    "message",
    [
        MARK,
        MARK + b"no stream",
        MARK + zlib.compress(TEXT)[:-1],
        MARK + zlib.compress(TEXT) + b"more",
        MARK + zlib.compress(bytes(MESSAGE_SIZE_MAX + 1)),  # 9 kB that would be 9 MB
        MARK + zlib.compress(bytes(200_000_000), 9),
    ],
    ids=["empty", "garbage", "cut off", "more", "too large", "bomb"],
)
def test_a_bad_stream_is_refused_within_its_bound(message: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="compressed bundle"):
        expanded(message)


def test_the_largest_bundle_may_be_compressed() -> None:
    bundle = bytes(MESSAGE_SIZE_MAX - 1)
    assert expanded(compressed(bundle)) == bundle


async def test_over_a_wide_network_both_ends_compress() -> None:
    a, b = _of("wan", "wan")
    assert await _bytes_sent(a, b) < len(TEXT) / 10


@pytest.mark.parametrize("preset", ["local", "lan"])
async def test_over_a_fast_network_nobody_compresses(preset: str) -> None:
    a, b = _of(preset, preset)
    assert await _bytes_sent(a, b) > len(TEXT)


@pytest.mark.parametrize("older_dials", [True, False])
async def test_a_node_that_knows_of_no_features_is_sent_none(
    older_dials: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a team that is brought to a new version node by node."""
    a, b = _of("wan", "wan")
    if older_dials:
        said = handshake.request_headers
        monkeypatch.setattr("node.links.dialler.request_headers", lambda *x: _without(said(*x)))
    else:
        answered = handshake.answer_headers
        monkeypatch.setattr(
            "node.links.transport.answer_headers", lambda *x: _without(answered(*x))
        )
    older, newer = (a, b) if older_dials else (b, a)
    async with started(a, b):
        a.send(b, 1)
        await b.wait(lambda: b.sequences == [1])
        newer.transport.send(older.node, (older.endpoint,), Push((TEXT,)))
        await older.wait(lambda: Received(newer.node, Push((TEXT,))) in older.events)
        assert newer.transport.statistics()["bytes_out"] > len(TEXT)


async def test_what_was_not_agreed_is_a_bad_message() -> None:
    """Who compresses all the same is counted, and the link stays."""
    a, b = _of("local", "local")
    async with started(a, b):
        a.send(b, 1)
        await b.wait(lambda: b.sequences == [1])
        (link,) = a.transport._links
        link._compresses = True
        a.transport.send(b.node, (b.endpoint,), Push((TEXT,)))
        await eventually(lambda: b.transport.statistics()["protocol_errors"] == 1)
        a.send(b, 2)
        await b.wait(lambda: b.sequences == [1, 2])
        assert not [each for each in b.events if _is_push(each)]


def _of(first: str, second: str) -> tuple[Node, Node]:
    a, b = Node(1), Node(2)
    a.trust.preset, b.trust.preset = first, second
    return a, b


def _without(headers: dict[str, str]) -> dict[str, str]:
    assert "Quorate-Features" in headers
    return {name: text for name, text in headers.items() if name != "Quorate-Features"}


def _is_push(event: object) -> bool:
    return isinstance(event, Received) and isinstance(event.message, Push)


async def _bytes_sent(a: Node, b: Node) -> int:
    async with started(a, b):
        a.transport.send(b.node, (b.endpoint,), Push((TEXT,)))
        await b.wait(lambda: Received(a.node, Push((TEXT,))) in b.events)
        return a.transport.statistics()["bytes_out"]
