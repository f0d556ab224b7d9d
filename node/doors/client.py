"""The client door: HTTP on loopback, for people and programs.

    GET    /healthz                         the process answers
    GET    /readyz                          200 when a leader is known and the log is being followed
    GET    /v1/status                       this node, its role, term, leader, health: see `views`
    GET    /v1/members                      everybody it knows
    GET    /v1/events                       facts as server-sent events

    GET    /v1/jobs                         all jobs, briefly
    POST   /v1/jobs                         submit: a job as YAML, JSON, or packed by the codec
    GET    /v1/jobs/JOB                     one job with its tasks, late results and siblings;
                                            ?brief: as among all jobs
    GET    /v1/jobs/JOB/files               manifest of the accepted files: path -> SHA-256
    GET    /v1/jobs/JOB/files/PATH          one accepted file
    GET    /v1/jobs/JOB/partials/PATH       all current versions of a partial result
    GET    /v1/jobs/JOB/versions/PATH       who wrote it, who saw whose version, what was merged
    POST   /v1/jobs/JOB/cancel              {"reason": "..."}: give up what is open of it
    GET    /v1/jobs/JOB/notes               what its agents may need to know: see `notes`
    POST   /v1/jobs/JOB/notes
    GET    /v1/jobs/JOB/tasks/TASK/story    how a task came about: see `stories`
    GET    /v1/tasks/TASK                   which jobs have such a task
    GET    /v1/people                       what waits here for a person's answer: see `people`
    GET    /v1/people/JOB/TASK
    POST   /v1/people/JOB/TASK
    POST   /v1/prepare                      load what agents of these kinds need, before a job comes

    GET    /v1/registers                    named values that the team agrees on: see `registers`
    POST   /v1/registers
    GET    /v1/registers/KEY
    PUT    /v1/registers/KEY
    DELETE /v1/registers/KEY

    GET    /v1/entries                      values that nodes share by gossip: see `entries`
    GET    /v1/entries/KEY
    PUT    /v1/entries/KEY
    DELETE /v1/entries/KEY
    GET    /v1/blobs                        large values by their hash: see `blobs`
    PUT    /v1/blobs
    GET    /v1/blobs/ID
    DELETE /v1/blobs/ID

    POST   /v1/announce                     tell every member something: see `gathering`
    POST   /v1/query                        ask every member something
    POST   /v1/join                         call more addresses of the team
    POST   /v1/tags                         what all shall know of this node
    POST   /v1/forget                       drop a node that has failed or left
    POST   /v1/leave                        hand over, leave the team and stop
    POST   /v1/transfer                     another voter shall lead: see `agreement`
    POST   /v1/rescue                       the majority is lost: this node's log is the team's
    POST   /v1/faults                       cut links, if the node was started with --allow-faults

Every request but the first two shows the node's token: `Authorization: Bearer TOKEN`. Other users
of the machine do not have it, and neither has a page in a browser; what comes from one is refused
in any case: it says so in `Origin`, or asks for a `Host` that is no name of this node.

A packed job has its id already, and one that is there is answered as when it was new, so a client
may repeat the submission. A job that comes as text gets a new id each time, unless the client
names one: POST /v1/jobs?id=NAME may be repeated like a packed job, as long as the text is the same.
Errors are JSON {"error": kind, "detail": text}: 400 and 404 for the request, 401 and 403 for who
asks, 409 if it cannot be (an id belongs to another job), 413 if it is too large, 415 if it is of a
kind that is not read, 500 for a bug, 503 if it did not happen (try again), 504 if it may have.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from socket import socket
from typing import Any

from aiohttp import web

from node.agents.invocation import Invocations
from node.doors import JSON, MSGPACK, PACKED, YAML
from node.doors.agreement import AgreementDoor
from node.doors.answers import bad_request, error_answer, not_found, status_of
from node.doors.blobs import BlobsDoor
from node.doors.bodies import mapping_of
from node.doors.entries import EntriesDoor
from node.doors.gathering import GatheringDoor
from node.doors.lane import Lanes
from node.doors.notes import NotesDoor
from node.doors.people import PeopleDoor
from node.doors.registers import RegistersDoor
from node.doors.stories import StoriesDoor
from node.doors.versions import parts_view, versions_view
from node.doors.views import bounds_view, job_row, job_view, members_view, status_view
from node.links.transport import LinkFaults, Transport
from node.runtime import Runtime
from node.telemetry import Telemetry
from protocol import codec
from protocol.errors import QuorateError
from protocol.identity import NodeId
from protocol.jobs import AGENT_KINDS, Job, manifest, shown
from protocol.ledger import JobState
from protocol.peer import Peer

log = logging.getLogger(__name__)

BODY_SIZE_MAX = 8 * 1024 * 1024
STREAMS_MAX = 64  # event streams at a time
KEEPALIVE_S = 10.0
NO_FOLDER = Path("/nonexistent")  # a job sent as text brings no files
OPEN = ("/healthz", "/readyz")  # for health checks: they tell who leads, no more
TAKEN = {  # kinds of content; JSON elsewhere
    "/v1/jobs": (YAML, JSON, PACKED),
    "/v1/registers": (MSGPACK, JSON),
}
BACKLOG = 512  # clients that wait to be let in

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ClientDoor:
    """See the module's text."""

    def __init__(
        self,
        runtime: Runtime,
        transport: Transport,
        workers: Invocations,
        telemetry: Telemetry,
        token: str,
    ) -> None:
        assert token, "a door without a lock"
        self.runtime = runtime
        self.peer = runtime.peer
        self.transport = transport
        self.workers = workers
        self.telemetry = telemetry
        self._authorization = f"Bearer {token}".encode()
        self._names = _names_of(self.peer)
        self._streams = 0
        self._registers = RegistersDoor(runtime)
        self._agreement = AgreementDoor(runtime)
        self._gathering = GatheringDoor(runtime)
        self._entries = EntriesDoor(runtime)
        self._notes = NotesDoor(runtime)
        self._people = PeopleDoor(runtime, workers)
        self._blobs = BlobsDoor(runtime)
        self._stories = StoriesDoor(runtime)
        self._runner: web.AppRunner | None = None
        self._lanes: Lanes | None = None
        self._server: asyncio.Server | None = None

    def routes(self) -> list[web.RouteDef]:
        """What this door serves."""
        return [
            web.get("/healthz", self._health),
            web.get("/readyz", self._ready),
            web.get("/v1/status", self._status),
            web.get("/v1/members", self._members),
            web.get("/v1/jobs", self._jobs),
            web.post("/v1/jobs", self._submit),
            web.get("/v1/jobs/{job}", self._job),
            web.post("/v1/jobs/{job}/cancel", self._cancel),
            web.get("/v1/jobs/{job}/files", self._files),
            web.get("/v1/jobs/{job}/files/{path:.+}", self._file),
            web.get("/v1/jobs/{job}/partials/{path:.+}", self._partials),
            web.get("/v1/jobs/{job}/versions/{path:.+}", self._versions),
            web.get("/v1/events", self._events),
            web.post("/v1/prepare", self._prepare),
            web.post("/v1/faults", self._faults),
            web.post("/v1/leave", self._leave),
            *self._registers.routes(),
            *self._agreement.routes(),
            *self._gathering.routes(),
            *self._entries.routes(),
            *self._notes.routes(),
            *self._people.routes(),
            *self._blobs.routes(),
            *self._stories.routes(),
        ]

    async def start(self, listening: socket) -> None:
        """Serve on a socket that is bound already."""
        application = web.Application(client_max_size=BODY_SIZE_MAX, middlewares=[self._guard])
        application.add_routes(self.routes())
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        assert self._runner.server is not None
        self._lanes = Lanes(self._registers, self._may_ask, self._runner.server)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._lanes, sock=listening, backlog=BACKLOG)

    async def close(self) -> None:
        if self._server:
            self._server.close()
        if self._lanes:
            self._lanes.close()
        if self._runner:
            await self._runner.cleanup()

    # -- every request -------------------------------------------------------------------------

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Look who asks, and turn errors into their status."""
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        try:
            return await handler(request)
        except web.HTTPException as fault:
            if fault.content_type == "application/json":
                raise
            kind = fault.reason.replace(" ", "")
            return error_answer(fault.status, kind, _remedy(request, fault))
        except QuorateError as fault:
            return error_answer(*status_of(fault), str(fault))
        except ConnectionError:
            raise  # the client has gone
        except Exception as fault:
            log.exception("! %s %s", request.method, request.path)
            self.telemetry.say(f"! {request.method} {request.path}: {fault!r}")
            detail = f"a bug in this node ({type(fault).__name__}): its log has more"
            return error_answer(500, "Unexpected", detail)

    def _refusal(self, request: web.Request) -> web.Response | None:
        """What is said to whom nothing is done for; None if the request may go on."""
        if "Origin" in request.headers:
            return error_answer(403, "Forbidden", "pages in a browser are not served")
        host = request.headers.get("Host", "")
        if not self._is_named(host):
            detail = (
                f"{shown(host)} is no name of this node: use its address, or what it advertises"
            )
            return error_answer(403, "Forbidden", detail)
        shown_token = request.headers.get("Authorization", "")
        if request.path not in OPEN and not self._is_shown(shown_token):
            detail = "show the node's token: 'Authorization: Bearer TOKEN' (QUORATE_TOKEN)"
            return error_answer(401, "Unauthorized", detail)
        if request.method == "POST" and request.match_info.http_exception is None:
            taken = TAKEN.get(request.path, (JSON,))
            if request.content_type not in taken:
                detail = f"{request.content_type} is not read here: send Content-Type: "
                return error_answer(415, "UnsupportedMediaType", detail + " or ".join(taken))
        return None

    def _may_ask(self, host: str, authorization: str) -> bool:
        """Whether a request with these headers, and without `Origin`, is served."""
        return self._is_named(host) and self._is_shown(authorization)

    def _is_shown(self, authorization: str) -> bool:
        """Whether this is the node's token."""
        given = authorization.encode("utf-8", "surrogateescape")
        return hmac.compare_digest(given, self._authorization)

    def _is_named(self, host: str) -> bool:
        """Whether a client that means this node would say so. A page can give this node's address
        to a name of its own, but cannot call itself by an address; no browser leaves it out."""
        name = _host_of(host)
        return not host or name in self._names or _is_address(name)

    async def _health(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"ok": True})

    async def _ready(self, request: web.Request) -> web.StreamResponse:
        status = self.peer.status()
        followed = bool(status.leader) and status.commit > 0
        detail = {"ready": followed, "leader": status.leader, "commit": status.commit}
        return web.json_response(detail, status=200 if followed else 503)

    # -- reading -------------------------------------------------------------------------------

    async def _status(self, request: web.Request) -> web.StreamResponse:
        view = status_view(self.peer, time.monotonic_ns())
        view["transport"] = self.transport.statistics()
        view["seen_at"] = self.transport.observed.counts()
        view["facts"] = dict(self.telemetry.counts)
        view["log_lines_lost"] = self.telemetry.lost
        view["steps"] = self.runtime.steps
        view["inbox_dropped"] = self.runtime.dropped
        return web.json_response(view, dumps=_dumps)

    async def _members(self, request: web.Request) -> web.StreamResponse:
        rows = members_view(self.peer)
        for row in rows:
            row["sees_this_node_at"] = self.transport.observed.by(row["node"])
        return web.json_response(rows)

    async def _jobs(self, request: web.Request) -> web.StreamResponse:
        rows = [job_row(state) for state in self.peer.ledger.jobs.values()]
        return web.json_response(rows)

    async def _job(self, request: web.Request) -> web.StreamResponse:
        state = self._find(request)
        if "brief" in request.query:
            return web.json_response(job_row(state))
        view = job_view(self.peer, state, time.monotonic_ns())
        view["bounds"] = bounds_view(state, 1 + len(self.peer.membership.alive()))
        return web.json_response(view)

    async def _files(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(manifest(self._find(request).files()))

    async def _file(self, request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        for file in self._find(request).files():
            if file.path == path:
                return web.Response(body=file.content, content_type="application/octet-stream")
        raise not_found(f"no accepted task of this job wrote {path!r}")

    async def _partials(self, request: web.Request) -> web.StreamResponse:
        job = self._find(request)
        return web.json_response(parts_view(self.peer, job, request.match_info["path"]))

    async def _versions(self, request: web.Request) -> web.StreamResponse:
        job, path = self._find(request), request.match_info["path"]
        view = versions_view(self.peer, job, path)
        if not view["accepted"] and not view["partials"]:
            raise not_found(f"nobody has written {path!r} for {job.job.id}")
        return web.json_response(view)

    def _find(self, request: web.Request) -> JobState:
        state = self.peer.ledger.jobs.get(request.match_info["job"])
        if state is None:
            raise not_found(f"this node knows no job {request.match_info['job']!r}")
        return state

    # -- acting --------------------------------------------------------------------------------

    async def _submit(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        chosen = request.query.get("id")
        if request.content_type == PACKED:
            if chosen is not None:
                return error_answer(
                    400, "BadRequest", "a packed job has its id in it: leave ?id= out"
                )
            job = codec.unpack_value(Job, body)
        else:
            name = "job.json" if request.content_type == JSON else "job.yaml"
            job = await asyncio.to_thread(_parse_job, body, name, chosen)
        known = self.peer.ledger.jobs.get(job.id)
        if known is not None and known.job != job:
            return error_answer(
                409, "InvalidJob", f"there is another job {job.id!r}: give this one another id"
            )
        return web.json_response({"job": await self.runtime.submit(job)}, status=201)

    async def _cancel(self, request: web.Request) -> web.StreamResponse:
        asked = await mapping_of(request, ("reason",))
        reason = asked.get("reason", "")
        if not isinstance(reason, str):
            raise bad_request("'reason' is a text")
        told = f"cancelled: {reason}" if reason.strip() else "cancelled"
        await self.runtime.cancel(request.match_info["job"], told)
        return web.json_response({"cancelled": request.match_info["job"]}, status=202)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        if self._streams >= STREAMS_MAX:
            return error_answer(503, "Busy", f"{STREAMS_MAX} event streams are open already")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        self._streams += 1
        try:
            with self.telemetry.subscribe() as facts:
                await response.prepare(request)
                while not self.runtime.stopped.done():
                    await response.write(await _next_event(facts))
        except ConnectionResetError:
            pass  # the reader has gone
        finally:
            self._streams -= 1
        return response

    async def _prepare(self, request: web.Request) -> web.StreamResponse:
        """{"agents": [kind, ...]}: answered when they are ready to start without delay."""
        try:
            kinds = [str(kind) for kind in (await request.json())["agents"]]
        except (ValueError, TypeError, KeyError, RecursionError) as fault:
            return error_answer(400, "BadRequest", f"expected {{'agents': [...]}}: {fault!r}")
        unknown = [kind for kind in kinds if kind not in AGENT_KINDS]
        if unknown:
            return error_answer(400, "BadRequest", f"there is no agent {unknown[0]!r}")
        for kind in kinds:
            await self.workers.prepare(kind)
        return web.json_response({"prepared": kinds})

    async def _faults(self, request: web.Request) -> web.StreamResponse:
        """{"drop": [node id, ...], "loss": 0.1, "delay_s": 0.05}: both ways; "drop_to" and
        "drop_from" cut one way; {} heals."""
        if not self.transport.allow_faults:
            return error_answer(
                403, "Forbidden", "start the node with --allow-faults to cut its links"
            )
        try:
            wanted = await request.json()
            drop, drop_to, drop_from = (
                frozenset(NodeId(str(node)) for node in wanted.get(name, []))
                for name in ("drop", "drop_to", "drop_from")
            )
            faults = LinkFaults(
                drop_to=drop | drop_to,
                drop_from=drop | drop_from,
                loss=float(wanted.get("loss", 0.0)),
                delay_s=float(wanted.get("delay_s", 0.0)),
            )
        except (ValueError, TypeError, AttributeError, RecursionError) as fault:
            return error_answer(
                400, "BadRequest", f"expected {{'drop': [...], 'loss': 0.1}}: {fault}"
            )
        self.transport.set_faults(faults)
        to, back = sorted(faults.drop_to), sorted(faults.drop_from)
        self.telemetry.say(f"! link faults: drop_to={to} drop_from={back} loss={faults.loss}")
        return web.json_response({"drop_to": to, "drop_from": back})

    async def _leave(self, request: web.Request) -> web.StreamResponse:
        self.runtime.leave()
        return web.json_response({"leaving": self.peer.node})


async def _next_event(facts: asyncio.Queue[dict[str, object]]) -> bytes:
    try:
        async with asyncio.timeout(KEEPALIVE_S):
            record = await facts.get()
    except TimeoutError:
        return b": still here\n\n"
    return f"event: {record['type']}\ndata: {_dumps(record)}\n\n".encode()


def _names_of(peer: Peer) -> frozenset[str]:
    """What a client may call this node, besides an address."""
    endpoints = peer.settings.endpoints
    return frozenset({"localhost"} | {_host_of(endpoint) for endpoint in endpoints})


def _host_of(endpoint: str) -> str:
    """The host of "host", "host:port" or "[host]:port"."""
    bracketed, bracket, _ = endpoint.removeprefix("[").partition("]")
    return (bracketed if bracket else endpoint.partition(":")[0]).lower()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _parse_job(body: bytes, name: str, chosen: str | None) -> Job:
    """The job in a text, under the id that the client has chosen, or a fresh one."""
    from node import jobfile  # heavy: only where a job comes as text
    from node.agents.backends import check_backends, default_agent

    text = body.decode("utf-8", "replace")
    found = jobfile.parse(text, name, NO_FOLDER, default_agent())
    job = jobfile.with_fresh_id(found) if chosen is None else jobfile.with_id(found, chosen)
    check_backends(job)
    return job


def _remedy(request: web.Request, fault: web.HTTPException) -> str:
    match fault.status:
        case 404:
            return f"there is nothing at {request.path}"
        case 405:
            return f"{request.path} does not take {request.method}"
        case 413:
            return f"the body is over {BODY_SIZE_MAX} bytes: send less"
        case _:
            return fault.reason


def _dumps(value: Any) -> str:
    return json.dumps(value, default=str)
