"""One open connection between two nodes: a WebSocket, a reader and a writer.

A link ends in one of three ways: it breaks, the peer says goodbye, or it is closed from here.

When two nodes dial each other at the same time, one of the two links is given up without loss:
each end finishes what it is writing, sends an empty message as its last one, and goes on reading
until the other's last one. What still waits in the outbox goes by the link that stays.

Invariant: while a link runs, exactly one task reads and one writes, and both are over when `run`
returns. Every wait on the peer has a bound.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from aiohttp import ClientError, ClientWebSocketResponse, WSCloseCode, WSMsgType
from aiohttp.web import WebSocketResponse

from node.links.compression import compressed, expanded
from node.links.features import Feature
from node.links.handshake import Origin
from node.links.outbox import Outbox, split_bundle
from protocol.errors import RemoteProtocolError
from protocol.identity import NodeId

WRITE_STALL_S = 10.0  # the largest frame at 1 MB/s; a peer that takes less is as good as gone
DRAIN_S = 1.0  # for what still waits when this node leaves
CLOSE_S = 1.0  # for the peer to answer a close
RETIRE_S = 5.0  # for the peer to finish with a link that was given up
BAD_MESSAGES_MAX = 16  # of one link; a peer that sends more of them is broken
_GOODBYE_CODES = (WSCloseCode.OK, WSCloseCode.GOING_AWAY)
_LAST_MESSAGE = b""

UNACKNOWLEDGED_S = 5  # what was sent and not acknowledged for so long ends the connection
KEEPALIVE_IDLE_S = 10  # a connection without traffic is tried after so long,
KEEPALIVE_INTERVAL_S = 5  # and again every so often

WebSocket: TypeAlias = WebSocketResponse[bool] | ClientWebSocketResponse[bool]


class Ending(Enum):
    """How a link came to its end."""

    BROKEN = (
        "broken"  # connection lost, a write that does not progress, or an error told by the peer
    )
    GOODBYE = "goodbye"  # the peer closed in good order
    CLOSED_HERE = "closed here"


@dataclass(slots=True)
class Traffic:
    """Counts over all links of a transport. Bytes are those of WebSocket messages."""

    messages_in: int = 0
    messages_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    protocol_errors: int = 0


class Link:
    """A connection with `origin.peer`, whose identity the TLS handshake has proven."""

    def __init__(
        self,
        origin: Origin,
        websocket: WebSocket,
        features: Feature,
        traffic: Traffic,
        receive: Callable[[NodeId, bytes], None],
        peer_retired: Callable[[Link], None],
    ) -> None:
        """`features` are those of both ends; `receive` is called for each frame and raises
        RemoteProtocolError for a bad one; `peer_retired` when the peer will send nothing more on
        this link, which then retires."""
        self.origin = origin
        self.peer = origin.peer
        self._websocket = websocket
        self._compresses = Feature.COMPRESSION in features
        self._traffic = traffic
        self._receive = receive
        self._peer_retired = peer_retired
        self._outbox = Outbox()
        self._bad_messages = 0
        self._retiring = False
        self._leaving = False
        self._closed_here = False
        self._written = asyncio.Event()  # the writer has written its last
        self._overdue: asyncio.TimerHandle | None = None
        connection = websocket.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            give_up_on_silence(connection)

    def __repr__(self) -> str:
        state = "retiring" if self._retiring else "closed" if self._closed_here else "open"
        return f"Link({self.peer} {'>' if self.origin.dialled_here else '<'} {state})"

    async def run(self, outbox: Outbox) -> Ending:
        """Carry frames from the outbox and from the peer until the link ends."""
        self._outbox = outbox
        writer = asyncio.create_task(self._write(), name=f"writer to {self.peer}")
        try:
            return await self._read()
        finally:
            if self._overdue is not None:
                self._overdue.cancel()
            writer.cancel()
            with suppress(asyncio.CancelledError):
                await writer
            await self._close(WSCloseCode.OK)

    def retire(self) -> None:
        """Write nothing more, and end when the peer has done the same."""
        if not self._retiring:
            self._retiring = True
            self._outbox.changed.set()
            self._overdue = asyncio.get_running_loop().call_later(RETIRE_S, self.abort)

    async def say_goodbye(self) -> None:
        """Write what waits, within a bound, and close in good order."""
        self._leaving = True
        self._outbox.changed.set()
        with suppress(TimeoutError):  # the peer is slow: what is left is lost, as on a crash
            async with asyncio.timeout(DRAIN_S):
                await self._written.wait()
        await self._close(WSCloseCode.GOING_AWAY)

    def abort(self) -> None:
        """Break the connection at once; the reader then sees its end.

        aiohttp has no public way to do this that does not wait for the peer, hence the socket.
        """
        connection = self._websocket.get_extra_info("socket")
        if connection is None or connection.fileno() < 0:
            return
        with socket.socket(fileno=os.dup(connection.fileno())) as twin, suppress(OSError):
            twin.shutdown(socket.SHUT_RDWR)  # an error means that it is disconnected already

    # -- writing ---------------------------------------------------------------------------------

    async def _write(self) -> None:
        try:
            await self._write_bundles()
        except TimeoutError:
            self.abort()
        except (OSError, ClientError):
            self.abort()  # usually lost already; the reader tells
        finally:
            self._written.set()

    async def _write_bundles(self) -> None:
        outbox = self._outbox
        while not self._retiring:
            bundle, frames = outbox.take_bundle()
            if frames:
                message = compressed(bundle) if self._compresses else bundle
                async with asyncio.timeout(WRITE_STALL_S):
                    await self._websocket.send_bytes(message)
                self._traffic.messages_out += frames
                self._traffic.bytes_out += len(message)
            elif self._leaving:
                return
            else:
                outbox.changed.clear()
                await outbox.changed.wait()
        async with asyncio.timeout(WRITE_STALL_S):
            await self._websocket.send_bytes(_LAST_MESSAGE)

    # -- reading ---------------------------------------------------------------------------------

    async def _read(self) -> Ending:
        while self._bad_messages <= BAD_MESSAGES_MAX:
            message = await self._websocket.receive()
            match message.type:
                case WSMsgType.BINARY if message.data == _LAST_MESSAGE:
                    self._peer_retired(self)
                    await self._written.wait()
                    return Ending.CLOSED_HERE
                case WSMsgType.BINARY:
                    self._take_in(message.data)
                case WSMsgType.TEXT:
                    self._count_bad()
                case WSMsgType.CLOSE if message.data in _GOODBYE_CODES:
                    return Ending.CLOSED_HERE if self._closed_here else Ending.GOODBYE
                case _:
                    return Ending.CLOSED_HERE if self._closed_here else Ending.BROKEN
        await self._close(WSCloseCode.PROTOCOL_ERROR)
        return Ending.CLOSED_HERE

    def _take_in(self, message: bytes) -> None:
        self._traffic.bytes_in += len(message)
        try:
            frames = split_bundle(expanded(message) if self._compresses else message)
        except RemoteProtocolError:
            self._count_bad()
            return
        for frame in frames:
            try:
                self._receive(self.peer, frame)
                self._traffic.messages_in += 1
            except RemoteProtocolError:
                self._count_bad()

    def _count_bad(self) -> None:
        self._bad_messages += 1
        self._traffic.protocol_errors += 1

    async def _close(self, code: int) -> None:
        if self._closed_here:
            return
        self._closed_here = True
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._websocket.close(code=code)
        except (TimeoutError, OSError, ClientError):
            self.abort()


def give_up_on_silence(connection: socket.socket) -> None:
    """Let the kernel break a connection whose other end is out of reach or has another address
    now. By default it goes on repeating for a quarter of an hour, and nobody dials meanwhile."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        timeout_ms = UNACKNOWLEDGED_S * 1_000
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout_ms)
