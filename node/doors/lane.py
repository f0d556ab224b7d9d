"""The short way for requests about one register: a connection that asks for nothing else is served
without a web framework in between, which would take most of the time of such a request.

    PUT | GET | DELETE /v1/registers/KEY, plainly said    answered here
    anything else, or said in any other way               handed over to the framework, for good

Invariants: the answers of a connection come in the order of its requests, one at a time; what is
handed over is every byte from the beginning of a request on, as if nobody had looked at it. Only
what can be read in one way alone is read here (RFC 9112: HTTP/1.1, one length, no transfer coding),
and only from who may ask: whom to refuse, and in which words, is said in one place, elsewhere.
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
from protocol.errors import QuorateError
from protocol.registers import VALUE_SIZE_MAX

HEAD_SIZE_MAX = 8 * 1024
BUFFER_SIZE_MAX = HEAD_SIZE_MAX + VALUE_SIZE_MAX  # what is waiting; then no more is read
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
        self._second = 0
        self._date = b""

    def __call__(self) -> asyncio.Protocol:
        """For a new connection."""
        return Lane(self)

    def close(self) -> None:
        """Close those that are not handed over, once what was written is out."""
        for lane in list(self.open):
            lane.close()

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

    # -- the connection --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1
        )
        self._lanes.open.add(self)

    def connection_lost(self, fault: Exception | None) -> None:
        self._transport = None
        self._lanes.open.discard(self)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def pause_writing(self) -> None:
        self._may_write = False

    def resume_writing(self) -> None:
        self._may_write = True
        self._proceed()

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
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
        self._lanes.open.discard(self)
        framework = self._lanes.framework()
        transport.set_protocol(framework)
        framework.connection_made(transport)
        framework.data_received(buffer)

    def _answered(self, waiting: asyncio.Future[Any]) -> None:
        self._waiting = None
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
