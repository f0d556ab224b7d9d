"""All links of one node: who is connected, what waits for whom, and what could not be delivered.

    transport = Transport(trust, inbox.put)
    await transport.start(listen_on("127.0.0.1", 0))  # now `transport.endpoint` is known
    transport.send(node, ("10.0.0.7:7700",), message)
    await transport.close()

A link serves both directions, whoever dialled it. Sending to a node without one starts a dial;
messages wait meanwhile. What cannot be delivered is reported as `Undeliverable`, never raised.

Invariant: a node has at most one link that is written to, and at most one dial under way. Nothing
here grows without a bound, and nothing is left running after `close`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import TypedDict

from aiohttp import web

from node.links.correspondents import Correspondent, Correspondents
from node.links.dialler import DialFailed, Dialled, Dialler, ReachedSelf
from node.links.features import Feature
from node.links.handshake import (
    CONNECT_TIMEOUT_S,
    HANDSHAKE_TIMEOUT_S,
    PEER_PATH,
    STATUS_OWN_NODE,
    Origin,
    Refused,
    answer_headers,
    examine,
    shared_features,
    supersedes,
)
from node.links.link import CLOSE_S, Ending, Link, Traffic, WebSocket
from node.links.link_faults import DELAYED_MAX, FaultDraw, LinkFaults, LinkQuality
from node.links.listening import endpoint_of
from node.links.observed import ObservedAddresses
from node.links.outbox import MESSAGE_SIZE_MAX
from node.links.trust import ClusterTrust
from protocol import codec
from protocol.events import Event, LinkFault, Received, Undeliverable
from protocol.facts import Fact
from protocol.identity import NodeId
from protocol.messages import Message

__all__ = ["LinkFaults", "LinkQuality", "Transport", "TransportStatistics"]

LINKS_MAX = 4_096
DIALS_MAX = 8  # under way at a time: where all dial all they only keep each other from answering
REDIAL_PAUSE_S = 0.05  # between the starts of two dials to one node


class TransportStatistics(TypedDict):
    """Counts since the start, and the links open now."""

    messages_in: int
    messages_out: int
    bytes_in: int
    bytes_out: int
    protocol_errors: int
    dropped: int  # could not be delivered: no connection, or no room
    cut: int  # lost by a fault made on purpose
    refused: int  # connections of others that were turned away
    dials: int
    links: int


class Transport:
    """Sends to nodes by id, and hands what comes from them to `deliver`."""

    def __init__(
        self,
        trust: ClusterTrust,
        deliver: Callable[[Event], None],
        *,
        allow_faults: bool = False,
        report: Callable[[Fact], None] = lambda fact: None,
    ) -> None:
        """`deliver` must not block, and is never called from within `send`. Link faults are
        refused unless `allow_faults`. `report` takes what concerns the links alone."""
        self.node = trust.node
        self.endpoint = ""
        self._trust = trust
        self._deliver = deliver
        self.allow_faults = allow_faults
        self.observed = ObservedAddresses(report)
        self._draw = FaultDraw(LinkFaults())
        self._correspondents = Correspondents()
        self._links: set[Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._delayed: set[asyncio.TimerHandle] = set()
        self._traffic = Traffic()
        self._dropped = self._cut = self._refused = 0
        self._closing = asyncio.Event()
        self._turnstile = asyncio.Semaphore(DIALS_MAX)
        self._dialler: Dialler | None = None
        self._server: asyncio.Server | None = None
        application = web.Application()
        application.router.add_get(PEER_PATH, self._accept)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=CLOSE_S)

    def __repr__(self) -> str:
        return f"Transport({self.node} at {self.endpoint or 'nowhere'}, {len(self._links)} links)"

    async def start(self, listener: socket.socket) -> None:
        """Serve a bound socket, which is the transport's from now on, and be ready to dial."""
        await self._runner.setup()
        assert self._runner.server is not None
        self._server = await asyncio.get_running_loop().create_server(
            self._runner.server,
            sock=listener,
            ssl=self._trust.server_context(),
            ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S,
            ssl_shutdown_timeout=CLOSE_S,
        )
        self.endpoint = endpoint_of(listener)
        self._dialler = Dialler(self._trust)

    def send(self, destination: NodeId, endpoints: tuple[str, ...], message: Message) -> None:
        """Send to a node at one of its endpoints, tried in order; a seed's id is empty. Never
        blocks: the message leaves, or waits, or is dropped and reported."""
        if self._closing.is_set() or destination == self.node:
            return
        correspondent = self._correspondents.find(destination, endpoints)
        if correspondent is None:
            self._report_overflow(destination, endpoints, "too many nodes at once")
            return
        try:
            frame = codec.encode(message)
        except ValueError as fault:  # a message may be lost; a node that stops for one may not
            self._report_overflow(destination, endpoints, str(fault))
            return
        is_cut = correspondent.node in self._draw.faults.drop_to
        if is_cut and correspondent.link is not None:
            self._cut += 1
            return
        deliveries = self._draw.deliveries(correspondent.node)
        self._cut += not deliveries
        for delay_s in deliveries:
            if delay_s > 0:
                self._send_later(delay_s, correspondent, frame)
            else:
                self._put(correspondent, frame)
        self._correspondents.forget_if_idle(correspondent)

    def set_faults(self, faults: LinkFaults) -> None:
        """Put these faults in force in place of all earlier ones; `LinkFaults()` heals."""
        if not self.allow_faults:
            raise PermissionError("link faults are not allowed here: start with --allow-faults")
        self._draw = FaultDraw(faults)

    def statistics(self) -> TransportStatistics:
        """What has gone through so far."""
        traffic = self._traffic
        return TransportStatistics(
            messages_in=traffic.messages_in,
            messages_out=traffic.messages_out,
            bytes_in=traffic.bytes_in,
            bytes_out=traffic.bytes_out,
            protocol_errors=traffic.protocol_errors,
            dropped=self._dropped,
            cut=self._cut,
            refused=self._refused,
            dials=self._dialler.dials if self._dialler is not None else 0,
            links=len(self._links),
        )

    async def close(self) -> None:
        """Write what waits, within a bound, take leave of all peers, and leave nothing behind."""
        if self._closing.is_set() or self._server is None:
            return
        self._closing.set()
        self._server.close()
        for handle in self._delayed:
            handle.cancel()
        dials = [each.dial for each in self._correspondents if each.dial is not None]
        for dial in dials:
            dial.cancel()
        try:
            await asyncio.gather(*dials, return_exceptions=True)  # they are cancelled
            await asyncio.gather(*(link.say_goodbye() for link in self._links))
            await asyncio.gather(*self._tasks)
        finally:
            await self._runner.cleanup()
            assert self._dialler is not None
            await self._dialler.close()

    # -- sending ---------------------------------------------------------------------------------

    def _put(self, correspondent: Correspondent, frame: bytes) -> None:
        outbox = correspondent.outbox
        if not outbox.put(frame):
            if outbox.overflowing:
                self._dropped += 1  # reported when it began
            else:
                outbox.overflowing = True
                self._report_overflow(
                    correspondent.node, correspondent.endpoints, f"{len(outbox)} messages wait"
                )
        if correspondent.link is None:
            self._start_dial(correspondent)

    def _send_later(self, delay_s: float, correspondent: Correspondent, frame: bytes) -> None:
        if len(self._delayed) >= DELAYED_MAX:
            self._cut += 1
            return
        node, endpoints = correspondent.node, correspondent.endpoints

        def leave() -> None:
            self._delayed.discard(handle)
            # Looked up again: it may have been forgotten and made anew meanwhile.
            current = self._correspondents.find(node, endpoints)
            if current is not None:
                self._put(current, frame)

        handle = asyncio.get_running_loop().call_later(delay_s, leave)
        self._delayed.add(handle)

    def _report_overflow(self, node: NodeId, endpoints: tuple[str, ...], detail: str) -> None:
        """Deliver later: `send` is called while effects are performed, and must not interleave."""
        self._dropped += 1
        endpoint = endpoints[0] if endpoints else ""
        fault = Undeliverable(node, endpoint, LinkFault.OVERFLOW, detail)
        asyncio.get_running_loop().call_soon(self._deliver_open, fault)

    def _deliver_open(self, event: Event) -> None:
        if not self._closing.is_set():
            self._deliver(event)

    # -- dialling --------------------------------------------------------------------------------

    def _start_dial(self, correspondent: Correspondent) -> None:
        if correspondent.dial is None and not self._closing.is_set():
            name = f"dial {correspondent.node or correspondent.endpoints}"
            correspondent.dial = asyncio.create_task(self._dial(correspondent), name=name)

    async def _dial(self, correspondent: Correspondent) -> None:
        """One dial: all endpoints in order, until one answers as the node that is meant."""
        loop = asyncio.get_running_loop()
        failed = None
        try:
            await asyncio.sleep(max(0.0, correspondent.next_dial_s - loop.time()))
            correspondent.next_dial_s = loop.time() + REDIAL_PAUSE_S
            if not correspondent.node:  # a seed: there are few, and this node may know nobody else
                failed = await self._try_endpoints(correspondent)
            else:
                async with self._turnstile:
                    if correspondent.link is None:
                        failed = await self._try_endpoints(correspondent)
        finally:
            correspondent.dial = None
        if correspondent.link is None:
            self._dropped += len(correspondent.outbox.take_all())
            if failed is not None:
                self._deliver_open(
                    Undeliverable(correspondent.node, failed.endpoint, failed.fault, failed.detail)
                )
        self._correspondents.forget_if_idle(correspondent)

    async def _try_endpoints(self, correspondent: Correspondent) -> DialFailed | None:
        """None when a link was made, or when there is nothing to complain of.

        Of several failures the first that is not a refusal is told: a refusal is evidence that the
        node is down only if all its addresses refuse.
        """
        failures: list[DialFailed] = []
        for endpoint in correspondent.endpoints:
            try:
                reached = await self._dial_endpoint(correspondent, endpoint)
            except ReachedSelf:
                if not correspondent.node:
                    return None
                detail = "the address is now this node's own"
                failures.append(DialFailed(LinkFault.REJECTED, endpoint, detail))
            except DialFailed as failed:
                failures.append(failed)
            else:
                if reached == correspondent.node or not correspondent.node:
                    return None
                detail = f"the address is now that of {reached}"
                failures.append(DialFailed(LinkFault.REJECTED, endpoint, detail))
        if not failures:
            return DialFailed(LinkFault.TIMEOUT, "", "no address of this node is known")
        told = (each for each in failures if each.fault is not LinkFault.REFUSED)
        return next(told, failures[0])

    async def _dial_endpoint(self, correspondent: Correspondent, endpoint: str) -> NodeId:
        """Dial one address and adopt the link, whosever it is."""
        assert self._dialler is not None
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + CONNECT_TIMEOUT_S
        if not self._draw.faults.is_cut(correspondent.node):
            dialled = await self._dialler.dial(endpoint)
            peer = dialled.origin.peer
            if not self._draw.faults.is_cut(peer):
                self.observed.note(peer, dialled.observed)
                self._adopt_dialled(correspondent, endpoint, dialled)
                return peer
            await dialled.websocket.close()
        await asyncio.sleep(deadline_s - loop.time())  # nobody answers across a cut
        detail = f"no connection within {CONNECT_TIMEOUT_S:g} s"
        raise DialFailed(LinkFault.TIMEOUT, endpoint, detail)

    def _adopt_dialled(self, correspondent: Correspondent, endpoint: str, dialled: Dialled) -> None:
        link = self._link(dialled.origin, dialled.websocket, dialled.features)
        owner = self._adopt(link)
        if not correspondent.node:
            self._correspondents.learn(endpoint, link.peer)
            for frame in correspondent.outbox.take_all():
                self._put(owner, frame)
        task = asyncio.create_task(self._run(link, owner), name=f"link to {link.peer}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- answering dials -------------------------------------------------------------------------

    async def _accept(self, request: web.Request) -> web.StreamResponse:
        secured = request.get_extra_info("ssl_object")
        certificate = secured.getpeercert(binary_form=True) if secured is not None else None
        now_s = asyncio.get_running_loop().time()
        try:
            origin = examine(request.headers, certificate, self._trust, now_s)
            if len(self._links) >= LINKS_MAX:
                raise Refused(503, f"{LINKS_MAX} links are open, which is the limit")
            if self._closing.is_set():
                raise Refused(503, "this node is about to stop")
        except Refused as refusal:
            self._refused += refusal.status != STATUS_OWN_NODE
            return web.Response(status=refusal.status, headers=refusal.headers())
        if self._draw.faults.is_cut(origin.peer):
            return await self._hang(request)
        websocket: web.WebSocketResponse[bool] = web.WebSocketResponse(
            timeout=CLOSE_S, compress=False, max_msg_size=MESSAGE_SIZE_MAX
        )
        seen_at = request.remote or ""
        websocket.headers.update(answer_headers(request.headers, self._trust, seen_at))
        await websocket.prepare(request)
        link = self._link(origin, websocket, shared_features(request.headers, self._trust))
        await self._run(link, self._adopt(link))
        return websocket

    async def _hang(self, request: web.Request) -> web.StreamResponse:
        """Behave like the far side of a cut: say nothing until the dialler has given up."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self._closing.wait()
        except TimeoutError:
            self._cut += 1
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=503)

    # -- links -----------------------------------------------------------------------------------

    def _link(self, origin: Origin, websocket: WebSocket, features: Feature) -> Link:
        traffic = self._traffic
        return Link(origin, websocket, features, traffic, self._receive, self._peer_retired)

    def _adopt(self, link: Link) -> Correspondent:
        """Make the link its node's, unless another one survives it; the loser retires."""
        owner = self._correspondents.owner_of(link)
        rival = owner.link
        if rival is None or supersedes(link.origin, rival.origin, self.node):
            owner.link = link
            if rival is not None:
                rival.retire()
        else:
            link.retire()
        self._links.add(link)
        return owner

    async def _run(self, link: Link, owner: Correspondent) -> None:
        ending = Ending.BROKEN
        try:
            ending = await link.run(owner.outbox)
        finally:
            self._links.discard(link)
            if owner.link is link:
                self._correspondents.unlink(owner)
                self._lost(link, owner, ending)
            elif owner.link is None and owner.outbox:
                self._start_dial(owner)
            self._correspondents.forget_if_idle(owner)

    def _lost(self, link: Link, owner: Correspondent, ending: Ending) -> None:
        """The node's only link has ended: what waited for it has nowhere to go."""
        self._dropped += len(owner.outbox.take_all())
        # A link that breaks across a cut says so to nobody.
        if ending is Ending.BROKEN and not self._draw.faults.is_cut(link.peer):
            detail = "the connection broke"
            self._deliver_open(Undeliverable(link.peer, owner.endpoint, LinkFault.RESET, detail))

    def _peer_retired(self, link: Link) -> None:
        """The peer has chosen another link, which may not have been adopted here yet."""
        owner = self._correspondents.owner_of(link)
        if owner.link is link:
            self._correspondents.unlink(owner)
            owner.next_dial_s = asyncio.get_running_loop().time() + REDIAL_PAUSE_S
        self._correspondents.forget_if_idle(owner)
        link.retire()

    def _receive(self, sender: NodeId, frame: bytes) -> None:
        if sender in self._draw.faults.drop_from:
            self._cut += 1
            return
        self._deliver_open(Received(sender, codec.decode(frame)))
