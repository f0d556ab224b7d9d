"""Talking to a node's client door from outside."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any

import aiohttp

from protocol import codec
from protocol.errors import QuorateError
from protocol.jobs import Job

PACKED = "application/x-quorate-job"
READY_LOOK_S = 0.05
REQUEST_TIMEOUT_S = 35.0  # above the node's own limit for an answer


class DoorError(QuorateError):
    """The node answered with an error, or not at all. `kind` is the error's name; 'Unreachable'
    if there was no answer."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


class Door:
    """One node's client door. Use as an async context."""

    def __init__(self, address: str, token: str = "") -> None:
        self.address = address
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Door:
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S, sock_connect=3.0)
        self._session = aiohttp.ClientSession(
            f"http://{self.address}", headers=self._headers, timeout=timeout
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def get(self, path: str) -> Any:
        """A JSON document."""
        return json.loads(await self._request("GET", path))

    async def get_bytes(self, path: str) -> bytes:
        return await self._request("GET", path)

    async def post(self, path: str, content: object) -> Any:
        body = json.dumps(content).encode()
        return json.loads(await self._request("POST", path, body, "application/json"))

    async def submit(self, job: Job) -> str:
        """Submit a job: its id once a majority keeps it."""
        answer = await self._request("POST", "/v1/jobs", codec.pack_value(job), PACKED)
        return str(json.loads(answer)["job"])

    async def facts(self) -> AsyncIterator[dict[str, Any]]:
        """Live facts, until the node ends."""
        assert self._session is not None
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=3.0, sock_read=30.0)
        try:
            async with self._session.get("/v1/events", timeout=timeout) as response:
                async for line in response.content:
                    if line.startswith(b"data: "):
                        yield json.loads(line[6:])
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as fault:
            raise DoorError("Unreachable", f"{self.address}: {fault!r}") from None

    async def _request(
        self, method: str, path: str, body: bytes | None = None, kind: str = ""
    ) -> bytes:
        assert self._session is not None
        headers = {"Content-Type": kind} if kind else {}
        try:
            async with self._session.request(method, path, data=body, headers=headers) as response:
                answer = await response.read()
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as fault:
            detail = f"the node at {self.address} does not answer ({type(fault).__name__})"
            raise DoorError("Unreachable", detail) from None
        if response.status >= 400:
            raise _error_of(response.status, answer)
        return answer


def _error_of(status: int, answer: bytes) -> DoorError:
    try:
        content = json.loads(answer)
        return DoorError(content["error"], content["detail"])
    except (ValueError, KeyError, TypeError):
        return DoorError("Unexpected", f"status {status}: {answer[:200]!r}")


async def ask_first(addresses: list[str], path: str, token: str = "") -> Any:
    """The document from the first of the doors that answers."""
    fault = DoorError("Unreachable", "there is no node to ask")
    for address in addresses:
        try:
            async with Door(address, token) as door:
                return await door.get(path)
        except DoorError as error:
            if error.kind != "Unreachable":
                raise
            fault = error
    raise fault


async def gather_all(addresses: list[str], path: str, token: str = "") -> list[Any]:
    """The document from each door; None where there was no answer."""

    async def one(address: str) -> Any:
        try:
            async with Door(address, token) as door:
                return await door.get(path)
        except DoorError:
            return None

    return list(await asyncio.gather(*(one(address) for address in addresses)))


async def await_ready(addresses: list[str], timeout_s: float, token: str = "") -> bool:
    """Wait until every node follows a leader's log: whether that happened in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        answers = await gather_all(addresses, "/readyz", token)  # an error is no answer
        if all(answer and answer["ready"] for answer in answers):
            return True
        await asyncio.sleep(READY_LOOK_S)
    return False
