"""Talking to client doors from outside: to one node's, or to whichever of a team's answers.

Invariant: an error says whether the request may have happened. 'Unreachable' and 'Busy' mean that
it did not; 'TimedOut' that it may have: a submission may be repeated then, since a job that is
there already is answered alike.
"""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp
from yarl import URL

from node.doors import JSON, OCTETS, PACKED
from protocol import codec
from protocol.errors import QuorateError
from protocol.jobs import File, Job

CONNECT_TIMEOUT_S = 3.0
CONNECTIONS_MAX = 100  # to one door
REQUEST_TIMEOUT_S = 35.0  # above the node's own limit for an answer
LOOK_TIMEOUT_S = 3.0  # for what a node that lives has at hand
SUBMIT_TIMEOUT_S = 40.0  # over all doors and repetitions
GONE_TIMEOUT_S = 30.0  # who waits for a job gives up when no node has answered for so long
LOOK_S = 0.05
_REPEATED = ("Unreachable", "Busy", "TimedOut")

T = TypeVar("T")


class DoorError(QuorateError):
    """The node answered with an error, or not at all. `kind` is the error's name."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


def route(*parts: str) -> str:
    """A path on a door, from parts that may hold anything; a slash in one separates. DoorError for
    what nothing can be called, because it is no text or leads to elsewhere on the door."""
    for part in parts:
        try:
            part.encode()
        except UnicodeEncodeError:
            raise DoorError(
                "BadRequest", f"{part!a} is not UTF-8 text: nothing is called so"
            ) from None
        if not {".", ".."}.isdisjoint(part.split("/")):
            raise DoorError("BadRequest", f"{part!a} holds '.' or '..': nothing is called so")
    return "/v1/" + "/".join(quote(part) for part in parts)


class Door:
    """One node's client door. Use as an async context. Over `connections` requests at a time wait
    here already; 0 is no limit."""

    def __init__(self, address: str, token: str, connections: int = CONNECTIONS_MAX) -> None:
        self.address = address
        self.token = token
        self.connections = connections
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Door:
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S)
        try:
            self._session = aiohttp.ClientSession(
                f"http://{self.address}",
                headers=self._headers,
                timeout=timeout,
                connector=aiohttp.TCPConnector(limit=self.connections),
            )
        except ValueError as fault:
            raise DoorError("BadAddress", f"{self.address!r} is no host:port: {fault}") from None
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def look(self) -> None:
        """DoorError, Unreachable, unless the node answers within LOOK_TIMEOUT_S."""
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                await self.get_bytes("/healthz")
        except TimeoutError:
            raise DoorError("Unreachable", _no_answer(self.address, LOOK_TIMEOUT_S)) from None
        except DoorError as fault:
            if fault.kind == "Unreachable":
                raise

    async def get(self, path: str) -> Any:
        """A JSON document."""
        return self._document(await self.get_bytes(path))

    async def get_bytes(self, path: str) -> bytes:
        return await self._request("GET", path)

    async def get_whole(self, path: str) -> tuple[bytes, Mapping[str, str]]:
        """The body and the headers."""
        return await self._exchange("GET", path)

    async def post(self, path: str, content: object) -> Any:
        body = json.dumps(content).encode()
        return self._document(await self._request("POST", path, body, JSON))

    async def put(self, path: str, value: bytes) -> Any:
        return self._document(await self._request("PUT", path, value, OCTETS))

    async def delete(self, path: str) -> Any:
        return self._document(await self._request("DELETE", path))

    async def submit(self, job: Job) -> str:
        """Submit a job: its id once a majority keeps it."""
        answer = await self._request("POST", "/v1/jobs", codec.pack_value(job), PACKED)
        return str(self._document(answer)["job"])

    async def cancel(self, job: str, reason: str) -> None:
        """End a job before it is done, once a majority has confirmed that."""
        await self.post(route("jobs", job, "cancel"), {"reason": reason})

    async def facts(self) -> AsyncIterator[dict[str, Any]]:
        """Live facts, until the node ends."""
        assert self._session is not None
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=REQUEST_TIMEOUT_S
        )
        try:
            async with self._session.get("/v1/events", timeout=timeout) as response:
                if response.status >= 400:
                    raise _error_of(response.status, await response.read())
                async for line in response.content:
                    if line.startswith(b"data: "):
                        yield json.loads(line[6:])
        except (aiohttp.ClientError, TimeoutError, ConnectionError, ValueError) as fault:
            raise DoorError("Unreachable", f"{self.address}: {fault!r}") from None

    def _document(self, answer: bytes) -> Any:
        try:
            return json.loads(answer)
        except ValueError:
            detail = (
                f"{self.address} answers, but not as a node does: is it a client door's address?"
            )
            raise DoorError("Unexpected", detail) from None

    async def _request(
        self, method: str, path: str, body: bytes | None = None, kind: str = ""
    ) -> bytes:
        return (await self._exchange(method, path, body, kind))[0]

    async def _exchange(
        self, method: str, path: str, body: bytes | None = None, kind: str = ""
    ) -> tuple[bytes, Mapping[str, str]]:
        assert self._session is not None
        headers = {"Content-Type": kind} if kind else {}
        url = URL(path, encoded=True)
        data = io.BytesIO(body) if body is not None else None  # a large one is sent in pieces
        try:
            async with self._session.request(method, url, data=data, headers=headers) as response:
                answer = await response.read()
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as fault:
            detail = f"the node at {self.address} cannot be reached ({type(fault).__name__})"
            raise DoorError("Unreachable", detail) from None
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as fault:
            detail = f"the node at {self.address} broke off ({type(fault).__name__})"
            if isinstance(fault, TimeoutError):
                detail = _no_answer(self.address, REQUEST_TIMEOUT_S)
            if method == "GET":
                raise DoorError("Unreachable", detail) from None
            raise DoorError("TimedOut", f"{detail}: it may have happened") from None
        if response.status >= 400:
            raise _error_of(response.status, answer)
        return answer, response.headers


class Doors:
    """The doors of a team: whatever is asked, any node that answers will do."""

    def __init__(self, addresses: Sequence[str], token: str) -> None:
        self.addresses = tuple(addresses)
        self.token = token
        self._last = ""  # who answered last: asked first

    def door(self, address: str) -> Door:
        return Door(address, self.token)

    @property
    def answering(self) -> str:
        """Who answered last; empty if nobody has yet."""
        return self._last

    async def get(self, path: str) -> Any:
        """The document from the first of the doors that answers."""
        return await self.first(lambda door: door.get(path))

    async def get_bytes(self, path: str) -> bytes:
        return await self.first(lambda door: door.get_bytes(path))

    async def first(
        self, ask: Callable[[Door], Awaitable[T]], passed_on: Sequence[str] = ("Unreachable",)
    ) -> T:
        """What the first of the doors says that can be reached; errors of the kinds that are
        `passed_on` make it ask the next. A node may be stopped, and its kernel takes connections
        all the same: nothing is asked of who does not answer a look. The error is the last one, but
        TimedOut if what was asked for may have happened."""
        fault = DoorError("Unreachable", "there is no node to ask")
        for address in sorted(self.addresses, key=lambda address: address != self._last):
            try:
                async with self.door(address) as door:
                    await door.look()
                    answer = await ask(door)
            except DoorError as error:
                if error.kind not in passed_on:
                    raise
                fault = fault if fault.kind == "TimedOut" else error
            else:
                self._last = address
                return answer
        raise fault

    async def gather(self, path: str, timeout_s: float = LOOK_TIMEOUT_S) -> list[Any]:
        """The document from each door; None where there was no answer, or an error."""
        answers = await self.ask_all(path, timeout_s)
        return [None if isinstance(answer, DoorError) else answer for answer in answers]

    async def ask_all(self, path: str, timeout_s: float = LOOK_TIMEOUT_S) -> list[Any]:
        """The document from each door, or the DoorError why there is none."""

        async def one(address: str) -> Any:
            try:
                async with asyncio.timeout(timeout_s), self.door(address) as door:
                    return await door.get(path)
            except DoorError as fault:
                return fault
            except TimeoutError:
                return DoorError("Unreachable", _no_answer(address, timeout_s))

        answers = await asyncio.gather(*(one(address) for address in self.addresses))
        told = zip(self.addresses, answers, strict=True)
        answered = [address for address, answer in told if not isinstance(answer, DoorError)]
        if answered and self._last not in answered:
            self._last = answered[0]
        return list(answers)

    async def cancel(self, job: str, reason: str) -> None:
        """End a job before it is done, by the first door that can be reached."""
        await self.first(lambda door: door.cancel(job, reason))

    async def submit(self, job: Job, timeout_s: float = SUBMIT_TIMEOUT_S) -> str:
        """Submit a job at one door after another until one takes it: its id. The error is the last
        one: TimedOut if the job may have been taken."""
        deadline = time.monotonic() + timeout_s
        fault = DoorError("Unreachable", "there is no node to ask")
        indefinite: DoorError | None = None
        while self.addresses:
            try:
                return await self.first(lambda door: door.submit(job), _REPEATED)
            except DoorError as error:
                if error.kind not in _REPEATED:
                    raise
                fault = error
                indefinite = error if error.kind == "TimedOut" else indefinite
            if time.monotonic() > deadline or fault.kind == "Unreachable":
                break
            await asyncio.sleep(LOOK_S)
        raise indefinite or fault

    async def await_ready(self, timeout_s: float) -> bool:
        """Wait until every node follows a leader's log: whether that happened in time."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            answers = await self.gather("/readyz")
            if all(answer and answer["ready"] for answer in answers):
                return True
            await asyncio.sleep(LOOK_S)
        return False

    async def await_end(self, job_id: str, look_s: float = LOOK_S) -> dict[str, Any]:
        """A job's view once it is finished, however long that takes; but not while nobody answers,
        or nobody knows the job, for GONE_TIMEOUT_S."""
        heard_at = time.monotonic()
        while True:
            try:
                # All of a job is much to tell, and to be told once.
                path = route("jobs", job_id)
                view: dict[str, Any] = await self.get(f"{path}?brief")
                if view["finished"]:
                    view = await self.get(path)
            except DoorError as fault:
                if fault.kind not in ("NotFound", "Unreachable"):
                    raise
                if time.monotonic() - heard_at > GONE_TIMEOUT_S:
                    raise DoorError(
                        "TimedOut",
                        f"nothing heard of {job_id} for {GONE_TIMEOUT_S:.0f} s ({fault}); it may "
                        f"go on: look with 'quorate ps', start stopped nodes with 'quorate up'",
                    ) from None
            else:
                heard_at = time.monotonic()
                if view["finished"]:  # by another door perhaps, which may know less
                    return view
            await asyncio.sleep(look_s)

    async def files(self, job_id: str) -> list[File]:
        """A job's accepted files."""
        paths = await self.get(route("jobs", job_id, "files"))
        return [
            File(path, await self.get_bytes(route("jobs", job_id, "files", path))) for path in paths
        ]


def _no_answer(address: str, timeout_s: float) -> str:
    return (
        f"the node at {address} has not answered within {timeout_s:g} s: it may be stopped, or "
        f"have too much to do"
    )


def _error_of(status: int, answer: bytes) -> DoorError:
    try:
        content = json.loads(answer)
        return DoorError(str(content["error"]), str(content["detail"]))
    except (ValueError, KeyError, TypeError):
        return DoorError("Unexpected", f"status {status}: {answer[:200]!r}")
