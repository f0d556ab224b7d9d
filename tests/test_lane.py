"""Connections at the short way to the registers: how many there are, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from lone_node import TOKEN, lone_node

from node.doors import lane

GET = b"GET /v1/registers/k HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\n"
ASK = GET % TOKEN.encode()
HALF = ASK.replace(b"GET", b"PUT").replace(b"\r\n\r\n", b"\r\nContent-Length: 9\r\n\r\nhalf")


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[int]:
    async with lone_node(tmp_path) as (address, _):
        yield int(address.rpartition(":")[2])


class Connection:
    """A client's."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int) -> Connection:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self) -> int:
        """The status of the answer."""
        self.writer.write(ASK)
        return await self.status()

    async def status(self) -> int:
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = head.split(b"Content-Length: ")[1].split(b"\r\n")[0]
        await self.reader.readexactly(int(length))
        return int(head.split()[1])

    async def wait_closed(self) -> bytes:
        """What comes until the end."""
        async with asyncio.timeout(10):
            rest = await self.reader.read()
        self.writer.close()
        return rest


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "IDLE_MAX_S", 0.3)
    monkeypatch.setattr(lane, "SWEEP_S", 0.02)


@pytest.mark.usefixtures("_impatient")
async def test_who_asks_for_nothing_any_more_is_closed_and_who_goes_on_is_not(port: int) -> None:
    silent, idle, busy = [await Connection.open(port) for _ in range(3)]
    assert await idle.ask() == 404
    for _ in range(10):
        assert await busy.ask() == 404
        await asyncio.sleep(0.05)
    assert await silent.wait_closed() == b""
    assert await idle.wait_closed() == b""
    assert await busy.ask() == 404
    assert await busy.wait_closed() == b""


@pytest.mark.usefixtures("_impatient")
async def test_a_request_that_is_not_complete_in_time_ends_its_connection(port: int) -> None:
    connection = await Connection.open(port)
    connection.writer.write(HALF)
    for _ in range(4):  # a byte now and then does not help
        await asyncio.sleep(0.05)
        connection.writer.write(b"x")
    assert await connection.wait_closed() == b""


async def test_one_too_many_takes_the_place_of_the_longest_idle(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "LANES_MAX", 2)
    first, second = await Connection.open(port), await Connection.open(port)
    for connection in (second, first):
        assert await connection.ask() == 404
        await asyncio.sleep(0.01)
    third = await Connection.open(port)
    assert await third.ask() == 404
    assert await second.wait_closed() == b""
    assert await first.ask() == 404
    for connection in (first, third):
        connection.writer.close()


async def test_where_nobody_is_idle_one_too_many_is_told_so(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "LANES_MAX", 1)
    busy = await Connection.open(port)
    busy.writer.write(HALF)
    await asyncio.sleep(0.05)
    late = await Connection.open(port)
    assert await late.status() == 503
    assert await late.wait_closed() == b""
    busy.writer.write(b"whole")
    assert await busy.status() == 200
    busy.writer.close()
