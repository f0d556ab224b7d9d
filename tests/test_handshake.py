"""What two nodes settle at the start of a link: versions, addresses, names."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from test_transport import HOST, Node, free_port, started

from node.doors.answers import RequestFault
from node.doors.gathering import _endpoint
from node.links import handshake
from node.links.handshake import Versions, observed_host
from node.links.listening import CannotListen, listen_on
from node.links.observed import OBSERVERS_MAX, ObservedAddresses
from node.settings import DEFAULT_PORT
from protocol.codec import VERSION
from protocol.events import LinkFault
from protocol.facts import Fact
from protocol.facts.membership import AddressObserved
from protocol.identity import NOBODY, NodeId
from protocol.messages.membership import ProbeNack

# -- versions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "theirs", "settled"),
    [
        ("4", "4", 4),
        ("3-4", "4-5", 4),
        ("3-6", "4-5", 5),
        ("4", "2-3", None),
        ("4-5", "6", None),
        ("4", "5-3", None),
        ("4", "", None),
        ("4", "4-", None),
        ("4", "four", None),
        ("4", "9999999", None),
    ],
)
def test_the_newest_version_that_both_speak_is_settled_on(
    ours: str, theirs: str, settled: int | None
) -> None:
    own = Versions.parse(ours)
    assert own is not None
    assert str(own) == ours
    assert own.settle(Versions.parse(theirs)) == settled


async def test_a_later_version_links_with_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    later, now = Node(1), Node(2)
    async with started(later, now):
        dialler_speaks(later, monkeypatch, f"{VERSION}-{VERSION + 2}")
        later.send(now, 1)
        await now.wait(lambda: now.sequences == [1])


async def test_a_version_that_was_not_offered_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = Node(1), Node(2)
    monkeypatch.setattr(
        "node.links.transport.answer_headers", lambda *_: {"Quorate-Version": str(VERSION + 1)}
    )
    async with started(a, b):
        a.send(b, 1)
        await a.wait(lambda: bool(a.events))
        assert a.faults[0].fault is LinkFault.REJECTED
        assert f"settled on protocol version '{VERSION + 1}'" in a.faults[0].detail


async def test_a_node_with_another_preset_is_refused_and_told_which_is_right() -> None:
    """The lease by which its leader would read may outlast the promises of the others."""
    a, b = Node(1), Node(2)
    a.trust.preset, b.trust.preset = "wan", "lan"
    async with started(a, b):
        a.send(b, 1)
        await a.wait(lambda: bool(a.events))
        assert a.faults[0].fault is LinkFault.REJECTED
        assert "this team runs with --preset lan, not 'wan'" in a.faults[0].detail
        assert b.events == []


def dialler_speaks(node: Node, monkeypatch: pytest.MonkeyPatch, versions: str) -> None:
    honest = handshake.request_headers
    monkeypatch.setattr(
        "node.links.dialler.request_headers",
        lambda *args: honest(*args) | {"Quorate-Version": versions},
    )


# -- addresses -------------------------------------------------------------------------------


async def test_who_dials_is_told_where_it_is_seen() -> None:
    a, b, c = Node(1), Node(2), Node(3)
    async with started(a, b, c):
        for other in (b, c):
            a.send(other, 1)
            await other.wait(lambda other=other: bool(other.events))
        assert a.facts == [AddressObserved(HOST, b.node)]
        assert a.transport.observed.counts() == {HOST: 2}
        assert a.transport.observed.by(b.node) == HOST
        assert b.transport.observed.counts() == {}


@pytest.mark.parametrize("said", ["", "a.host", "10.0.0.1:7", "10.0.0.1\r\nX: y", "1" * 999])
def test_what_is_no_address_is_not_believed(said: str) -> None:
    assert observed_host({"Quorate-Observed": said}) == ""


def test_a_new_address_is_told_once_and_observers_are_bounded() -> None:
    facts: list[Fact] = []
    observed = ObservedAddresses(facts.append)
    for number in range(OBSERVERS_MAX + 5):
        observed.note(NodeId(f"n{number}"), "10.0.0.1")
    observed.note(NodeId("n7"), "10.0.0.2")
    assert facts == [
        AddressObserved("10.0.0.1", NodeId("n0")),
        AddressObserved("10.0.0.2", NodeId("n7")),
    ]
    assert observed.counts() == {"10.0.0.1": OBSERVERS_MAX - 1, "10.0.0.2": 1}


async def test_a_seed_is_called_at_an_ipv6_address() -> None:
    a, b = Node(1), Node(2)
    try:
        listener = listen_on("::1", 0)
    except CannotListen:
        pytest.skip("this machine has no IPv6 loopback")
    async with started(a):
        await b.transport.start(listener)
        a.transport.send(NOBODY, (f"[::1]:{listener.getsockname()[1]}",), ProbeNack(1))
        await b.wait(lambda: b.sequences == [1])
        assert a.transport.observed.counts() == {"::1": 1}
        await b.transport.close()


async def test_a_name_is_looked_up_anew_at_each_dial(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that has moved is found at once; nobody remembers where its name led to."""
    a, b = Node(1), Node(2)
    leads_to = {"address": "127.0.0.9"}

    async def look_up(_: object, host: str, port: int, **__: Any) -> list[Any]:
        assert host == "moving.example"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (leads_to["address"], port))]

    async with started(a, b):
        monkeypatch.setattr(asyncio.get_running_loop().__class__, "getaddrinfo", look_up)
        endpoint = f"moving.example:{b.endpoint.rpartition(':')[2]}"
        a.transport.send(b.node, (endpoint,), ProbeNack(1))
        await a.wait(lambda: bool(a.faults))
        assert a.faults[0].fault is LinkFault.REFUSED
        leads_to["address"] = HOST
        a.transport.send(b.node, (endpoint,), ProbeNack(2))
        await b.wait(lambda: b.sequences == [2])


async def test_a_name_all_of_whose_addresses_refuse_is_refused() -> None:
    a = Node(1)
    async with started(a):
        a.transport.send(NOBODY, (f"localhost:{free_port()}",), ProbeNack(1))
        await a.wait(lambda: bool(a.faults))
        assert a.faults[0].fault is LinkFault.REFUSED


@pytest.mark.parametrize(
    ("seed", "called"),
    [
        ("10.0.0.7:7700", "10.0.0.7:7700"),
        ("box.example:7700", "box.example:7700"),
        ("[::1]:7700", "[::1]:7700"),
        ("box", f"box:{DEFAULT_PORT}"),
    ],
)
def test_an_operator_may_name_a_host_or_an_ipv6_address(seed: str, called: str) -> None:
    assert _endpoint(seed) == called


@pytest.mark.parametrize("seed", ["", "::1:7700", "a b:1", "box:0", "box:70000", 7, None])
def test_an_operator_who_names_no_address_is_told(seed: object) -> None:
    with pytest.raises(RequestFault, match="is no address"):
        _endpoint(seed)
