"""Links over real sockets on loopback."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from node.links import dialler, handshake, link, transport
from node.links.handshake import Origin, supersedes
from node.links.link_faults import FaultDraw, LinkFaults, LinkQuality
from node.links.listening import CannotListen, endpoint_of, listen_on
from node.links.outbox import BUNDLE_SIZE_MAX, FRAMES_MAX, Outbox, split_bundle
from node.links.transport import Transport
from node.links.trust import ClusterTrust
from protocol import codec
from protocol.codec import VERSION
from protocol.errors import RemoteProtocolError
from protocol.events import Event, LinkFault, Received, Undeliverable
from protocol.facts import Fact
from protocol.identity import NOBODY, NodeId
from protocol.messages.membership import ProbeNack
from protocol.messages.sharing import Push

HOST = "127.0.0.1"
WAIT_S = 10.0


class Node:
    """A transport and everything that it has delivered."""

    def __init__(
        self, number: int, *, cluster: str = "test", secret: str = "s", allow_faults: bool = False
    ) -> None:
        self.trust = ClusterTrust(cluster, secret, bytes([number]) * 32)
        self.events: list[Event] = []
        self._news = asyncio.Event()
        self.facts: list[Fact] = []
        self.transport = Transport(
            self.trust, self._deliver, allow_faults=allow_faults, report=self.facts.append
        )

    def _deliver(self, event: Event) -> None:
        self.events.append(event)
        self._news.set()

    async def start(self) -> None:
        await self.transport.start(listen_on(HOST, 0))

    @property
    def node(self) -> NodeId:
        return self.trust.node

    @property
    def endpoint(self) -> str:
        return self.transport.endpoint

    @property
    def sequences(self) -> list[int]:
        return [
            event.message.sequence
            for event in self.events
            if isinstance(event, Received) and isinstance(event.message, ProbeNack)
        ]

    @property
    def faults(self) -> list[Undeliverable]:
        return [event for event in self.events if isinstance(event, Undeliverable)]

    def send(self, other: Node, sequence: int) -> None:
        self.transport.send(other.node, (other.endpoint,), ProbeNack(sequence))

    async def wait(self, condition: Callable[[], bool]) -> None:
        """Until the condition holds; checked after each event."""
        async with asyncio.timeout(WAIT_S):
            while not condition():
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def started(*nodes: Node) -> AsyncIterator[None]:
    for node in nodes:
        await node.start()
    try:
        yield
    finally:
        for node in nodes:
            await node.transport.close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, left


async def eventually(condition: Callable[[], bool]) -> None:
    """For states that no event announces."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def links_of(node: Node) -> int:
    return node.transport.statistics()["links"]


# -- carrying --------------------------------------------------------------------------------


async def test_a_message_goes_there_and_one_back_on_the_same_link() -> None:
    a, b = Node(1), Node(2)
    async with started(a, b):
        a.send(b, 7)
        await b.wait(lambda: bool(b.events))
        assert b.events == [Received(a.node, ProbeNack(7))]
        b.transport.send(a.node, (), ProbeNack(8))
        await a.wait(lambda: bool(a.events))
        assert a.events == [Received(b.node, ProbeNack(8))]
        assert links_of(a) == links_of(b) == 1
        assert b.transport.statistics()["dials"] == 0


async def test_a_burst_arrives_in_order_in_few_writes() -> None:
    a, b = Node(1), Node(2)
    async with started(a, b):
        for sequence in range(5_000):
            a.send(b, sequence)
        await b.wait(lambda: len(b.events) == 5_000)
        assert b.sequences == list(range(5_000))
        out, taken = a.transport.statistics(), b.transport.statistics()
        assert out["messages_out"] == taken["messages_in"] == 5_000
        assert out["bytes_out"] == taken["bytes_in"]
        assert out["dropped"] == taken["protocol_errors"] == 0


async def test_a_frame_larger_than_a_bundle_travels_alone() -> None:
    a, b = Node(1), Node(2)
    large = Push((bytes(3 * BUNDLE_SIZE_MAX),))
    async with started(a, b):
        a.send(b, 1)
        a.transport.send(b.node, (b.endpoint,), large)
        a.send(b, 2)
        await b.wait(lambda: len(b.events) == 3)
        assert b.events[1] == Received(a.node, large)


async def test_simultaneous_dials_leave_one_link_and_lose_nothing() -> None:
    for _ in range(10):
        a, b = Node(1), Node(2)
        async with started(a, b):
            for sequence in range(100):
                a.send(b, sequence)
                b.send(a, sequence)
                await asyncio.sleep(0)
            await a.wait(lambda a=a: len(a.events) >= 100)  # type: ignore[misc]
            await b.wait(lambda b=b: len(b.events) >= 100)  # type: ignore[misc]
            await eventually(lambda a=a, b=b: links_of(a) == links_of(b) == 1)  # type: ignore[misc]
            assert sorted(a.sequences) == sorted(b.sequences) == list(range(100))
            assert not a.faults
            assert not b.faults


async def test_a_seed_dial_learns_the_id_and_its_link_serves_the_node() -> None:
    a, b = Node(1), Node(2)
    async with started(a, b):
        a.transport.send(NOBODY, (b.endpoint,), ProbeNack(1))
        await b.wait(lambda: b.sequences == [1])
        a.send(b, 2)
        a.transport.send(NOBODY, (b.endpoint,), ProbeNack(3))
        await b.wait(lambda: b.sequences == [1, 2, 3])
        assert a.transport.statistics()["dials"] == 1


async def test_a_seed_that_is_the_node_itself_is_no_failure() -> None:
    a = Node(1)
    async with started(a):
        a.transport.send(NOBODY, (a.endpoint,), ProbeNack(1))
        await eventually(lambda: a.transport.statistics()["dropped"] == 1)
        assert a.events == []
        assert links_of(a) == 0
        a.transport.send(a.node, (a.endpoint,), ProbeNack(2))
        assert a.transport.statistics()["dials"] == 1


# -- refusals and failures -------------------------------------------------------------------


async def test_an_address_that_now_belongs_to_another_node_is_reported() -> None:
    a, b, c = Node(1), Node(2), Node(3)
    async with started(a, b):
        a.transport.send(c.node, (b.endpoint,), ProbeNack(1))
        await a.wait(lambda: bool(a.events))
        (fault,) = a.faults
        assert (fault.destination, fault.fault) == (c.node, LinkFault.REJECTED)
        assert b.node in fault.detail
        assert b.events == []
        a.send(b, 2)  # by the link that the dial made
        await b.wait(lambda: b.sequences == [2])
        assert a.transport.statistics()["dials"] == 1


@pytest.mark.parametrize(("cluster", "secret"), [("test", "other"), ("other", "s")])
async def test_another_secret_or_name_is_rejected(cluster: str, secret: str) -> None:
    a, b = Node(1), Node(2, cluster=cluster, secret=secret)
    async with started(a, b):
        a.send(b, 1)
        await a.wait(lambda: bool(a.events))
        (fault,) = a.faults
        assert fault.fault is LinkFault.REJECTED
        assert "name or secret" in fault.detail
        assert b.events == []


async def test_another_cluster_name_under_the_same_authority_is_refused_with_both_names() -> None:
    a, b = Node(1), Node(2)
    a.trust.cluster = "Öst\r\n"
    async with started(a, b):
        a.send(b, 1)
        await a.wait(lambda: bool(a.events))
        (fault,) = a.faults
        assert fault.fault is LinkFault.REJECTED
        assert repr("Öst\r\n") in fault.detail
        assert "'test'" in fault.detail
        assert b.transport.statistics()["refused"] == 1


async def test_another_protocol_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = Node(1), Node(2)
    honest = handshake.request_headers
    monkeypatch.setattr(
        dialler, "request_headers", lambda *args: honest(*args) | {"Quorate-Version": "99"}
    )
    async with started(a, b):
        a.send(b, 1)
        await a.wait(lambda: bool(a.events))
        assert a.faults[0].fault is LinkFault.REJECTED
        assert f"version {VERSION}, not '99'" in a.faults[0].detail


async def test_a_port_where_nobody_listens_refuses_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dialler, "HANDSHAKE_TIMEOUT_S", 10 * WAIT_S)
    a, b = Node(1), Node(2)
    endpoint = f"{HOST}:{free_port()}"
    async with started(a):
        for sequence in range(3):
            a.transport.send(b.node, (endpoint,), ProbeNack(sequence))
        await a.wait(lambda: bool(a.events))
        detail = "nobody listens there"
        assert a.events == [Undeliverable(b.node, endpoint, LinkFault.REFUSED, detail)]
        assert a.transport.statistics()["dropped"] == 3
        assert a.transport.statistics()["dials"] == 1


async def test_dials_to_one_node_keep_a_pause_however_often_one_sends() -> None:
    a, b = Node(1), Node(2)
    endpoint = f"{HOST}:{free_port()}"
    async with started(a):
        begin = time.monotonic()
        while len(a.faults) < 4:
            a.transport.send(b.node, (endpoint,), ProbeNack(1))
            await asyncio.sleep(0)
        assert time.monotonic() - begin >= 3 * transport.REDIAL_PAUSE_S
        assert a.transport.statistics()["dials"] == 4
        assert {each.fault for each in a.faults} == {LinkFault.REFUSED}


async def test_the_next_endpoint_is_tried_when_one_refuses() -> None:
    a, b = Node(1), Node(2)
    async with started(a, b):
        a.transport.send(b.node, (f"{HOST}:{free_port()}", b.endpoint), ProbeNack(1))
        await b.wait(lambda: b.sequences == [1])
        assert a.events == []


@pytest.mark.parametrize("endpoint", ["", "no port", "127.0.0.1:99999", "a/b:1", "[::1"])
async def test_what_is_no_address_is_rejected(endpoint: str) -> None:
    a, b = Node(1), Node(2)
    async with started(a):
        a.transport.send(b.node, (endpoint,), ProbeNack(1))
        await a.wait(lambda: bool(a.events))
        assert a.faults[0].fault in (LinkFault.REJECTED, LinkFault.TIMEOUT)


async def test_a_node_without_an_address_is_undeliverable() -> None:
    a, b = Node(1), Node(2)
    async with started(a):
        a.transport.send(b.node, (), ProbeNack(1))
        await a.wait(lambda: bool(a.events))
        assert a.faults[0].fault is LinkFault.TIMEOUT


async def test_an_address_that_does_not_answer_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialler, "HANDSHAKE_TIMEOUT_S", 0.2)
    a, b = Node(1), Node(2)
    with socket.socket() as silent:
        silent.bind((HOST, 0))
        silent.listen()
        endpoint = f"{HOST}:{silent.getsockname()[1]}"
        async with started(a):
            a.transport.send(b.node, (endpoint,), ProbeNack(1))
            await a.wait(lambda: bool(a.events))
            assert a.faults[0].fault is LinkFault.TIMEOUT


async def test_a_listener_that_speaks_something_else_is_rejected() -> None:
    a, b = Node(1), Node(2)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"SSH-2.0-something\r\n" * 10)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, HOST, 0)
    endpoint = f"{HOST}:{server.sockets[0].getsockname()[1]}"
    async with started(a):
        a.transport.send(b.node, (endpoint,), ProbeNack(1))
        await a.wait(lambda: bool(a.events))
        assert a.faults[0].fault in (LinkFault.REJECTED, LinkFault.RESET)
        server.close()
        await server.wait_closed()


def test_a_port_in_use_is_named_with_a_remedy() -> None:
    with listen_on(HOST, 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen, match=rf"port {port} on 127\.0\.0\.1 is in use.*choose"):
            listen_on(HOST, port)


@pytest.mark.parametrize(
    ("host", "port"), [(HOST, 70_000), (HOST, -1), ("192.0.2.1", 0), ("no such host", 0)]
)
def test_an_address_that_cannot_be_bound_is_named(host: str, port: int) -> None:
    with pytest.raises(CannotListen, match="choose"):
        listen_on(host, port)


async def test_a_node_listens_on_ipv6_too() -> None:
    a, b = Node(1), Node(2)
    try:
        listener = listen_on("::1", 0)
    except CannotListen:
        pytest.skip("this machine has no IPv6 loopback")
    assert endpoint_of(listener).startswith("[::1]:")
    async with started(a):
        await b.transport.start(listener)
        a.send(b, 1)
        await b.wait(lambda: b.sequences == [1])
        await b.transport.close()


PEER_PROCESS = """
    import asyncio, sys
    from node.links.listening import listen_on
    from node.links.transport import Transport
    from node.links.trust import ClusterTrust
    from protocol.identity import NOBODY
    from protocol.messages.membership import ProbeNack

    async def main():
        trust = ClusterTrust("test", "s", bytes([2]) * 32)
        transport = Transport(trust, lambda event: None)
        await transport.start(listen_on("127.0.0.1", 0))
        transport.send(NOBODY, (sys.argv[1],), ProbeNack(1))
        await asyncio.to_thread(sys.stdin.read)
        await transport.close()

    asyncio.run(main())
"""


@asynccontextmanager
async def peer_process(endpoint: str) -> AsyncIterator[asyncio.subprocess.Process]:
    program = textwrap.dedent(PEER_PROCESS)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, endpoint, stdin=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_a_killed_peer_gives_a_reset_at_once() -> None:
    a = Node(1)
    async with started(a), peer_process(a.endpoint) as process:
        await a.wait(lambda: a.sequences == [1])
        process.send_signal(signal.SIGKILL)
        await a.wait(lambda: bool(a.faults))
        assert [(each.destination, each.fault) for each in a.faults] == [
            (Node(2).node, LinkFault.RESET)
        ]
        assert links_of(a) == 0


async def test_a_peer_that_takes_leave_gives_no_reset() -> None:
    a, b, c = Node(1), Node(2), Node(3)
    async with started(a, b, c):
        a.send(b, 1)
        c.send(a, 1)
        await b.wait(lambda: bool(b.events))
        await a.wait(lambda: bool(a.events))
        await b.transport.close()  # was dialled
        await c.transport.close()  # has dialled
        await eventually(lambda: links_of(a) == 0)
        assert a.faults == []


async def test_what_waits_is_written_before_leaving() -> None:
    a, b = Node(1), Node(2)
    async with started(a, b):
        a.send(b, 0)
        await b.wait(lambda: bool(b.events))
        for sequence in range(1, 2_000):
            a.send(b, sequence)
        await a.transport.close()
        await b.wait(lambda: len(b.events) == 2_000)
        assert a.transport.statistics()["dropped"] == 0
        a.send(b, 1)  # after close: nothing
        assert a.transport.statistics()["messages_out"] == 2_000


async def test_a_restarted_peer_is_linked_again() -> None:
    a, b = Node(1), Node(2)
    async with started(a):
        await b.start()
        a.send(b, 1)
        await b.wait(lambda: b.sequences == [1])
        await b.transport.close()
        again = Node(2)
        async with started(again):
            again.send(a, 5)
            await a.wait(lambda: a.sequences == [5])
            a.send(again, 6)
            await again.wait(lambda: again.sequences == [6])


# -- bounds ----------------------------------------------------------------------------------


async def test_a_full_outbox_drops_and_says_so_once() -> None:
    a, b = Node(1), Node(2)
    async with started(a, b):
        for sequence in range(FRAMES_MAX + 10):
            a.send(b, sequence)
        assert a.events == []  # never from within send
        await b.wait(lambda: len(b.events) == FRAMES_MAX)
        assert [each.fault for each in a.faults] == [LinkFault.OVERFLOW]
        assert a.transport.statistics()["dropped"] == 10
        assert b.sequences == list(range(FRAMES_MAX))


async def test_garbage_is_counted_and_dropped_and_too_much_closes_the_link(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a, b = Node(1), Node(2)
    async with started(a, b):
        a.send(b, 1)
        await b.wait(lambda: b.sequences == [1])
        encode = codec.encode
        monkeypatch.setattr(codec, "encode", lambda message: b"\xc1garbage")
        for _ in range(link.BAD_MESSAGES_MAX):
            a.send(b, 0)
        monkeypatch.setattr(codec, "encode", encode)
        a.send(b, 2)
        await b.wait(lambda: b.sequences == [1, 2])
        assert b.transport.statistics()["protocol_errors"] == link.BAD_MESSAGES_MAX
        monkeypatch.setattr(codec, "encode", lambda message: b"\xc1garbage")
        a.send(b, 0)
        await a.wait(lambda: bool(a.faults))
        assert a.faults[0].fault is LinkFault.RESET
        assert b.faults == []  # it closed the link itself
        await eventually(lambda: links_of(b) == 0)


async def test_a_peer_that_takes_nothing_is_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "WRITE_STALL_S", 0.2)
    a = Node(1)
    async with started(a), peer_process(a.endpoint) as process:
        await a.wait(lambda: a.sequences == [1])
        process.send_signal(signal.SIGSTOP)
        other = Node(2).node
        for _ in range(30):
            a.transport.send(other, (), Push((bytes(1024 * 1024),)))
        await a.wait(lambda: bool(a.faults))
        assert a.faults[0].fault is LinkFault.RESET


def test_an_outbox_bounds_frames_and_bytes() -> None:
    outbox = Outbox()
    frame = bytes(1024 * 1024)
    taken = 0
    while outbox.put(frame):
        taken += 1
    assert taken == 32
    assert not outbox.put(frame)
    assert outbox.take_bundle() == (len(frame).to_bytes(4, "big") + frame, 1)
    assert outbox.put(frame)
    assert len(outbox.take_all()) == 32
    assert outbox.take_bundle() == (b"", 0)


def test_a_bundle_splits_into_the_frames_that_went_in() -> None:
    outbox = Outbox()
    for frame in (b"one", b"", b"three"):
        assert outbox.put(frame)
    bundle, count = outbox.take_bundle()
    assert count == 3
    assert split_bundle(bundle) == [b"one", b"", b"three"]
    for cut in (1, 5, len(bundle) - 1):
        with pytest.raises(RemoteProtocolError):
            split_bundle(bundle[:cut])


# -- which link stays ------------------------------------------------------------------------


def seen_from_both_ends(*, by_first: bool) -> tuple[Origin, Origin]:
    """A link as the node with the smaller id and as the other one see it."""
    first, second = sorted((Node(1).node, Node(2).node))
    return Origin(second, 22, by_first, 1, "", 0.0), Origin(first, 11, not by_first, 1, "", 0.0)


async def test_both_ends_choose_the_same_link_in_whichever_order_they_see_them() -> None:
    first, second = sorted((Node(1).node, Node(2).node))
    smaller, larger = seen_from_both_ends(by_first=True), seen_from_both_ends(by_first=False)
    assert supersedes(smaller[0], larger[0], first)
    assert not supersedes(larger[0], smaller[0], first)
    assert supersedes(smaller[1], larger[1], second)
    assert not supersedes(larger[1], smaller[1], second)


async def test_a_dial_long_after_supersedes_whoever_made_it() -> None:
    first = min(Node(1).node, Node(2).node)
    late = replace(seen_from_both_ends(by_first=False)[0], opened_s=60.0)
    assert supersedes(late, seen_from_both_ends(by_first=True)[0], first)


async def test_a_restarted_peer_supersedes_and_later_dials_supersede_earlier_ones() -> None:
    first = min(Node(1).node, Node(2).node)
    old = seen_from_both_ends(by_first=True)[0]
    restarted = replace(seen_from_both_ends(by_first=False)[0], instance=99)
    assert supersedes(restarted, old, first)
    assert supersedes(replace(old, dial=2), old, first)
    assert not supersedes(old, replace(old, dial=2), first)


# -- faults made on purpose ------------------------------------------------------------------


async def test_faults_are_refused_unless_allowed() -> None:
    with pytest.raises(PermissionError, match="--allow-faults"):
        Node(1).transport.set_faults(LinkFaults())


async def test_a_cut_drops_both_ways_in_silence_and_heals() -> None:
    a, b = Node(1, allow_faults=True), Node(2)
    async with started(a, b):
        a.send(b, 1)
        await b.wait(lambda: b.sequences == [1])
        a.transport.set_faults(
            LinkFaults(drop_to=frozenset({b.node}), drop_from=frozenset({b.node}))
        )
        a.send(b, 2)
        b.send(a, 2)
        await eventually(lambda: a.transport.statistics()["cut"] == 2)
        a.transport.set_faults(LinkFaults())
        a.send(b, 3)
        b.send(a, 3)
        await b.wait(lambda: b.sequences == [1, 3])
        await a.wait(lambda: a.sequences == [3])
        assert not a.faults
        assert not b.faults


@pytest.mark.parametrize("who", ["dialler knows the node", "dialler has a seed", "listener"])
async def test_a_dial_across_a_cut_hangs(who: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialler, "HANDSHAKE_TIMEOUT_S", 0.3)
    monkeypatch.setattr(transport, "CONNECT_TIMEOUT_S", 0.3)
    a, b = Node(1, allow_faults=True), Node(2, allow_faults=True)
    async with started(a, b):
        if who == "listener":
            b.transport.set_faults(LinkFaults(drop_to=frozenset({a.node})))
        else:
            a.transport.set_faults(LinkFaults(drop_to=frozenset({b.node})))
        destination = NOBODY if who == "dialler has a seed" else b.node
        begin = time.monotonic()
        a.transport.send(destination, (b.endpoint,), ProbeNack(1))
        await a.wait(lambda: bool(a.events))
        assert time.monotonic() - begin > 0.25
        assert a.faults[0].fault in (LinkFault.TIMEOUT, LinkFault.RESET)
        assert who == "listener" or a.faults[0].fault is LinkFault.TIMEOUT
        assert (a.faults[0].destination, b.events) == (destination, [])


async def test_a_link_that_breaks_across_a_cut_tells_nobody() -> None:
    a = Node(1, allow_faults=True)
    other = Node(2).node
    async with started(a), peer_process(a.endpoint) as process:
        await a.wait(lambda: a.sequences == [1])
        a.transport.set_faults(LinkFaults(drop_from=frozenset({other})))
        process.kill()
        await eventually(lambda: links_of(a) == 0)
        assert a.faults == []


async def test_delay_loss_and_repetition_act_on_what_leaves() -> None:
    a, b = Node(1, allow_faults=True), Node(2)
    async with started(a, b):
        quality = {b.node: LinkQuality(delay_s=0.05, duplicate=1.0)}
        a.transport.set_faults(LinkFaults(quality=quality))
        begin = time.monotonic()
        a.send(b, 1)
        await b.wait(lambda: b.sequences == [1, 1])
        assert time.monotonic() - begin >= 0.05
        a.transport.set_faults(LinkFaults(quality={b.node: LinkQuality(loss=1.0)}))
        a.send(b, 2)
        assert a.transport.statistics()["cut"] == 1
        a.transport.set_faults(LinkFaults())
        a.send(b, 3)
        await b.wait(lambda: b.sequences == [1, 1, 3])


def test_the_same_seed_draws_the_same_faults() -> None:
    node = ClusterTrust("test", "s", bytes(32)).node
    faults = LinkFaults(quality={node: LinkQuality(0.3, 0.1, 0.5, 0.2)}, seed=5)
    first, second = FaultDraw(faults), FaultDraw(faults)
    drawn = [first.deliveries(node) for _ in range(100)]
    assert drawn == [second.deliveries(node) for _ in range(100)]
    assert {len(each) for each in drawn} == {0, 1, 2}


# -- leaving nothing behind ------------------------------------------------------------------


async def test_close_ends_dials_delayed_frames_and_links() -> None:
    a, b, c = Node(1, allow_faults=True), Node(2), Node(3)
    async with started(a, b):
        a.send(b, 1)
        await b.wait(lambda: bool(b.events))
        cut = frozenset({c.node})
        a.transport.set_faults(LinkFaults(delay_s=6 * WAIT_S, drop_to=cut, drop_from=cut))
        a.send(b, 2)
        a.transport.send(c.node, (b.endpoint,), ProbeNack(3))
        async with asyncio.timeout(WAIT_S):
            await a.transport.close()
        await b.transport.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(HOST, int(a.endpoint.rpartition(":")[2]))


def test_a_round_trip_works_on_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    uvloop = pytest.importorskip("uvloop")

    def run(main: Callable[[], Awaitable[None]]) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())  # type: ignore[arg-type]

    run(test_a_burst_arrives_in_order_in_few_writes)
    run(test_simultaneous_dials_leave_one_link_and_lose_nothing)
    run(test_a_killed_peer_gives_a_reset_at_once)
    run(test_a_peer_that_takes_leave_gives_no_reset)
    run(lambda: test_a_port_where_nobody_listens_refuses_at_once(monkeypatch))
    run(test_another_cluster_name_under_the_same_authority_is_refused_with_both_names)


def test_a_connection_into_silence_is_given_up_within_seconds() -> None:
    """A cable that is pulled tells nobody: the kernel alone would go on for a quarter of an hour,
    and a node that comes back at another address would never be dialled again."""
    with socket.socket() as connection:
        link.give_up_on_silence(connection)
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            timeout_ms = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
            assert 0 < timeout_ms <= 10_000
