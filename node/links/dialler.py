"""The dialling end of the handshake: from "host:port" to an open WebSocket with a proven node.

Invariant: a dial ends within `CONNECT_TIMEOUT_S` if no kernel answers, and within
`HANDSHAKE_TIMEOUT_S` in any case, in a connection or in one `DialFailed` that says which kind of
fault it was. (A handshake that is given up too early is worse than none where a whole team is short
of time: it is paid for again and again.) REFUSED means that the address itself answered that nobody
listens; it is evidence of death, so nothing else is ever reported as that.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import (
    AddrInfoType,
    ClientConnectorCertificateError,
    ClientConnectorError,
    ClientError,
    ClientSession,
    ClientWebSocketResponse,
    ClientWSTimeout,
    DummyCookieJar,
    InvalidURL,
    TCPConnector,
    TraceConfig,
    TraceRequestEndParams,
    WSServerHandshakeError,
)

from node.links.features import Feature
from node.links.handshake import (
    CONNECT_TIMEOUT_S,
    HANDSHAKE_TIMEOUT_S,
    PEER_PATH,
    STATUS_OWN_NODE,
    Origin,
    check_answer,
    dial_of,
    observed_host,
    refusal_detail,
    request_headers,
    shared_features,
)
from node.links.link import CLOSE_S
from node.links.outbox import MESSAGE_SIZE_MAX
from node.links.trust import ClusterTrust, proven_by
from protocol.errors import QuorateError, RemoteProtocolError
from protocol.events import LinkFault


class DialFailed(QuorateError):
    """No connection, or not with a member of this cluster."""

    def __init__(self, fault: LinkFault, endpoint: str, detail: str) -> None:
        super().__init__(f"{endpoint}: {detail}")
        self.fault = fault
        self.endpoint = endpoint
        self.detail = detail


class ReachedSelf(QuorateError):
    """The address is this node's own."""


@dataclass(frozen=True, slots=True)
class Dialled:
    """A connection as it comes out of the handshake. `features` is what both ends can do;
    `observed` is the IP address that the other end sees this node at, or empty."""

    origin: Origin
    websocket: ClientWebSocketResponse[bool]
    features: Feature
    observed: str


class Dialler:
    """Opens connections for one transport."""

    def __init__(self, trust: ClusterTrust) -> None:
        self._trust = trust
        self._dials = 0
        connector = TCPConnector(
            ssl=trust.client_context(),
            limit=0,
            force_close=True,
            use_dns_cache=False,
            socket_factory=_impatient_socket,
        )
        # aiohttp hands out no headers with a WebSocket, but tells them to whoever traces requests.
        tracing = TraceConfig()
        tracing.on_request_end.append(self._take_answer)
        self._answers: dict[int, Mapping[str, str]] = {}
        self._session = ClientSession(
            connector=connector, cookie_jar=DummyCookieJar(), trace_configs=[tracing]
        )

    @property
    def dials(self) -> int:
        """How often a dial was begun."""
        return self._dials

    async def dial(self, endpoint: str) -> Dialled:
        """Connect to the node at `endpoint`, whichever it is. A host's name is looked up for each
        dial: the node may have moved."""
        self._dials += 1
        dial = self._dials
        try:
            async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
                return await self._connect(endpoint, dial)
        except TimeoutError:
            detail = f"no handshake within {HANDSHAKE_TIMEOUT_S:g} s"
            raise DialFailed(LinkFault.TIMEOUT, endpoint, detail) from None
        except WSServerHandshakeError as refusal:
            if refusal.status == STATUS_OWN_NODE:
                raise ReachedSelf(endpoint) from None
            detail = refusal_detail(refusal.headers or {}, refusal.status)
            raise DialFailed(LinkFault.REJECTED, endpoint, detail) from None
        except (ClientError, OSError, ValueError, RemoteProtocolError) as fault:
            raise _failure(endpoint, fault) from None
        finally:
            self._answers.pop(dial, None)

    async def close(self) -> None:
        """Close what is still open."""
        await self._session.close()

    async def _connect(self, endpoint: str, dial: int) -> Dialled:
        websocket = await self._session.ws_connect(
            f"https://{endpoint}{PEER_PATH}",
            headers=request_headers(self._trust, dial),
            max_msg_size=MESSAGE_SIZE_MAX,
            timeout=ClientWSTimeout(ws_close=CLOSE_S),
        )
        try:
            return self._proven(endpoint, dial, websocket)
        except BaseException:
            await websocket.close()
            raise

    def _proven(
        self, endpoint: str, dial: int, websocket: ClientWebSocketResponse[bool]
    ) -> Dialled:
        """Who is at the other end, and what it said to the dial."""
        secured = websocket.get_extra_info("ssl_object")
        certificate = secured.getpeercert(binary_form=True) if secured is not None else None
        if not certificate:
            raise ConnectionResetError("connection lost during the handshake")
        peer, instance = proven_by(certificate)
        answer = self._answers[dial]
        check_answer(answer)
        now_s = asyncio.get_running_loop().time()
        origin = Origin(peer, instance, True, dial, endpoint, now_s)
        shared = shared_features(answer, self._trust)
        return Dialled(origin, websocket, shared, observed_host(answer))

    async def _take_answer(
        self, session: ClientSession, context: object, params: TraceRequestEndParams
    ) -> None:
        self._answers[dial_of(params.headers)] = params.response.headers


def _impatient_socket(address: AddrInfoType) -> socket.socket:
    """One that the kernel gives up to connect after `CONNECT_TIMEOUT_S`: a second try after 1 s,
    which has 2 s. Where this cannot be told, the handshake's time has to do."""
    family, kind, protocol, _, _ = address
    found = socket.socket(family, kind, protocol)
    if hasattr(socket, "TCP_SYNCNT"):
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, 1)
    return found


def _failure(endpoint: str, fault: Exception) -> DialFailed:
    """What an exception of a dial means to the protocol."""
    if isinstance(fault, ClientConnectorCertificateError):
        detail = "not of this cluster: its name or secret differs"
        return DialFailed(LinkFault.REJECTED, endpoint, detail)
    if isinstance(fault, ClientConnectorError) and not isinstance(fault.os_error, ssl.SSLError):
        if fault.os_error.errno == errno.ECONNREFUSED:
            return DialFailed(LinkFault.REFUSED, endpoint, "nobody listens there")
        if fault.os_error.errno == errno.ETIMEDOUT:
            detail = f"no connection within {CONNECT_TIMEOUT_S:g} s"
            return DialFailed(LinkFault.TIMEOUT, endpoint, detail)
        # No route, no such name: as with silence, the node may be well.
        detail = fault.os_error.strerror or str(fault.os_error)
        return DialFailed(LinkFault.TIMEOUT, endpoint, detail)
    if isinstance(fault, InvalidURL | ValueError):
        return DialFailed(LinkFault.REJECTED, endpoint, "not an address of the form host:port")
    if isinstance(fault, RemoteProtocolError | ssl.SSLError | ClientConnectorError):
        return DialFailed(LinkFault.REJECTED, endpoint, f"not a node of this cluster: {fault}")
    return DialFailed(LinkFault.RESET, endpoint, f"connection lost during the handshake: {fault}")
