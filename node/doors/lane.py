"""The short way for requests about one register: a connection that asks for nothing else is served
without a web framework in between, which would take most of the time of such a request.

    PUT | GET | DELETE /v1/registers/KEY, plainly said    answered here
    anything else, or said in any other way               handed over to the framework, for good

Invariants: the answers of a connection come in the order of its requests, one at a time; what is
handed over is every byte from the beginning of a request on, as if nobody had looked at it. Only
what can be read in one way alone is read here (RFC 9112: HTTP/1.1, one length, no transfer coding),
and only from who may ask: whom to refuse, and in which words, is said in one place, elsewhere.
A connection lasts as long as its client goes on asking: it is closed `IDLE_MAX_S` after its last
answer, or after the first byte of a request that is not complete by then. There are `LANES_MAX` at
most; one more takes the place of the longest idle one, or is told that the node is busy.
"""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, NamedTuple, cast

from node.doors.registers import EXPECT, REVISION, ROOT, Answer, RegistersDoor, fault_answer
from protocol.errors import Busy, QuorateError
from protocol.registers import VALUE_SIZE_MAX

HEAD_SIZE_MAX = 8 * 1024
BUFFER_SIZE_MAX = HEAD_SIZE_MAX + VALUE_SIZE_MAX  # what is waiting; then no more is read
LANES_MAX = 800  # a process may often open 1,024 files, and links and the journal need some
IDLE_MAX_S = 75.0  # longer than clients that keep connections do so: then it is they who close
SWEEP_S = 5.0  # how often idle ones are looked for
METHODS = (b"PUT", b"GET", b"DELETE")
PREFIX = f"{ROOT}/".encode()
TARGET = re.compile(rb"[!\"$-~]+")  # visible, and no fragment
FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([ -~\t]*)")
LENGTH = re.compile(r"[0-9]{1,7}")
# Headers that the framework would not heed either. Who sends any other is better served there.
IGNORED = frozenset(
    ("accept", "accept-encoding", "accept-language", "cache-control", "content-type", "user-agent")
)


class Head(NamedTuple):
    """What a request's headers say, if they are plain."""

    length: int
    expect: str | None


class Lanes:
    """What the connections of a door have in common. `may_ask` judges `Host` and `Authorization`;
    `framework` makes who takes over a connection."""

    def __init__(
        self,
        door: RegistersDoor,
        may_ask: Callable[[str, str], bool],
        framework: Callable[[], asyncio.Protocol],
    ) -> None:
        self.door = door
        self.may_ask = may_ask
        self.framework = framework
        self.open: set[Lane] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._second = 0
        self._date = b""

    def __call__(self) -> asyncio.Protocol:
        """For a new connection."""
        return Lane(self)

    def close(self) -> None:
        """Close those that are not handed over, once what was written is out."""
        if self._sweep is not None:
            self._sweep.cancel()
        for lane in list(self.open):
            lane.close()

    def enter(self, lane: Lane) -> bool:
        """A new connection, if there is room for it or can be made."""
        if len(self.open) >= LANES_MAX:
            idle = [other for other in self.open if other.is_idle]
            if not idle:
                return False
            min(idle, key=lambda other: other.rests_since).close()
        self.open.add(lane)
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(SWEEP_S, self._close_idle)
        return True

    def leave(self, lane: Lane) -> None:
        """It is closed, or another's."""
        self.open.discard(lane)

    def _close_idle(self) -> None:
        loop = asyncio.get_running_loop()
        oldest = loop.time() - IDLE_MAX_S
        for lane in [each for each in self.open if each.rests and each.rests_since < oldest]:
            lane.abandon()
        again = bool(self.open)
        self._sweep = loop.call_later(SWEEP_S, self._close_idle) if again else None

    def date(self) -> bytes:
        """For a `Date` header."""
        second = int(time.time())
        if second != self._second:
            self._second, self._date = second, formatdate(second, usegmt=True).encode()
        return self._date

    def read(self, fields: bytes) -> Head | None:
        """What these headers say; None if that is not plain, or if who asks may not."""
        found: dict[str, str] = {}
        for line in fields.decode("latin-1").split("\r\n"):
            match = FIELD.fullmatch(line)
            if match is None or match[1].lower() in found:
                return None
            found[match[1].lower()] = match[2].strip(" \t")
        host, authorization = found.pop("host", ""), found.pop("authorization", "")
        length, expect = found.pop("content-length", "0"), found.pop(EXPECT.lower(), None)
        if found.pop("connection", "keep-alive").lower() != "keep-alive":
            return None
        if not IGNORED.issuperset(found) or not LENGTH.fullmatch(length):
            return None
        if not host or not self.may_ask(host, authorization):
            return None
        return Head(int(length), expect)


class Lane(asyncio.Protocol):
    """One connection, until it is handed over."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._waiting: asyncio.Future[Any] | None = None
        self._may_write = True
        self._reads = True
        # A client's headers seldom differ from one request to the next: no need to look twice.
        self._fields = b""
        self._head: Head | None = None
        self._loop = asyncio.get_running_loop()
        self.rests_since = self._loop.time()

    @property
    def rests(self) -> bool:
        """Whether it is the client's turn: to ask, to go on with it, or to read the answer."""
        return self._waiting is None

    @property
    def is_idle(self) -> bool:
        """Whether nothing has been asked that is not answered."""
        return self.rests and not self._buffer and self._may_write

    # -- the connection --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1
        )
        if not self._lanes.enter(self):
            detail = f"{LANES_MAX} clients are being served: try again, or ask another node"
            self._write(fault_answer(Busy(detail)))
            self.close()
            self._transport = None

    def connection_lost(self, fault: Exception | None) -> None:
        self._transport = None
        self._lanes.leave(self)

    def close(self) -> None:
        """Once what was written is out."""
        self._lanes.leave(self)
        if self._transport is not None:
            self._transport.close()

    def abandon(self) -> None:
        """Wait for the client no longer, not even until it has read."""
        if self._may_write:
            self.close()
        elif self._transport is not None:
            self._lanes.leave(self)
            self._transport.abort()

    def pause_writing(self) -> None:
        self._may_write = False

    def resume_writing(self) -> None:
        self._may_write = True
        self._proceed()

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            self._buffer += data
        else:
            self._buffer = data
            self.rests_since = self._loop.time()
        self._proceed()

    # -- requests --------------------------------------------------------------------------------

    def _proceed(self) -> None:
        """Begin what is complete in the buffer, as far as that is possible now."""
        while self._transport is not None and self._buffer:
            if self._waiting is not None or not self._may_write or not self._take_request():
                break
        if self._transport is not None:
            self._read_more(len(self._buffer) <= BUFFER_SIZE_MAX)

    def _read_more(self, wanted: bool) -> None:
        if wanted == self._reads:
            return
        assert self._transport is not None
        self._reads = wanted
        if wanted:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _take_request(self) -> bool:
        """Begin the first request of the buffer, or hand the connection over; False if more of it
        has to come first."""
        buffer = self._buffer
        end = buffer.find(b"\r\n\r\n", 0, HEAD_SIZE_MAX)
        line, _, fields = buffer[: max(end, 0)].partition(b"\r\n")
        parts = line.split(b" ")
        if fields != self._fields:
            self._fields, self._head = fields, self._lanes.read(fields)
        head = self._head
        if head is None or head.length > VALUE_SIZE_MAX or not _is_plain(parts, head):
            self._hand_over()
            return True
        end += 4
        if len(buffer) < end + head.length:
            return False
        self._buffer = buffer[end + head.length :]
        method, target = parts[0].decode(), parts[1].decode()
        path, _, query = target.partition("?")
        body = buffer[end : end + head.length]
        try:
            waiting = self._lanes.door.begin(method, path, query, head.expect, body)
        except QuorateError as fault:
            self.rests_since = self._loop.time()
            self._write(fault_answer(fault))
        else:
            self._waiting = waiting
            waiting.add_done_callback(self._answered)
        return True

    def _hand_over(self) -> None:
        assert self._transport is not None
        self._read_more(wanted=True)
        transport, self._transport = self._transport, None
        buffer, self._buffer = self._buffer, b""
        self._lanes.leave(self)
        framework = self._lanes.framework()
        transport.set_protocol(framework)
        framework.connection_made(transport)
        framework.data_received(buffer)

    def _answered(self, waiting: asyncio.Future[Any]) -> None:
        self._waiting = None
        self.rests_since = self._loop.time()
        try:
            answer = self._lanes.door.told(waiting.result())
        except QuorateError as fault:
            answer = fault_answer(fault)
        self._write(answer)
        self._proceed()

    def _write(self, answer: Answer) -> None:
        if self._transport is None:
            return  # the client has gone
        said = b""
        if answer.revision:
            said = f"{REVISION}: {answer.revision}\r\n".encode()
        self._transport.write(
            b"HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nDate: %s\r\n%s\r\n%s"
            % (
                b"200 OK" if answer.status == 200 else _status(answer.status),
                answer.kind.encode(),
                len(answer.body),
                self._lanes.date(),
                said,
                answer.body,
            )
        )


def _is_plain(parts: list[bytes], head: Head) -> bool:
    """Whether this is the first line of a request that is served here."""
    if len(parts) != 3 or parts[2] != b"HTTP/1.1" or parts[0] not in METHODS:
        return False
    target = parts[1]
    return (
        target.startswith(PREFIX)
        and len(target) > len(PREFIX)
        and TARGET.fullmatch(target) is not None
        and (head.length == 0 or parts[0] == b"PUT")
    )


def _status(status: int) -> bytes:
    return f"{status} {HTTPStatus(status).phrase}".encode()
