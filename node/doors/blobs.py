"""Large values at the client door: kept by their hash, fetched from whoever has them.

PUT    /v1/blobs       the body is the content; answers {"blob": ID, "size": bytes}
GET    /v1/blobs/ID    the content; fetched from other nodes if need be, ?timeout_s= at most
DELETE /v1/blobs/ID    this node does without it
GET    /v1/blobs       what this node has, and how many parts it lacks
"""

from __future__ import annotations

import re

from aiohttp import web

from node.doors import OCTETS
from node.doors.answers import RequestFault, bad_request
from node.runtime import Runtime
from protocol.blobs import BLOB_SIZE_MAX, PART_SIZE, fault_of

ROOT = "/v1/blobs"
TIMEOUT_S = 30.0
TIMEOUT_MAX_S = 600.0
SECONDS = re.compile(r"[0-9]{1,3}(\.[0-9]{0,9})?")  # no other digits: "²" is one, and no number


class BlobsDoor:
    """See the module's text."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.peer = runtime.peer

    def routes(self) -> list[web.RouteDef]:
        """What this door serves."""
        return [
            web.put(ROOT, self._put),
            web.get(ROOT, self._list),
            web.get(ROOT + "/{blob}", self._get),
            web.delete(ROOT + "/{blob}", self._drop),
        ]

    async def _put(self, request: web.Request) -> web.StreamResponse:
        content = bytearray()
        async for piece in request.content.iter_any():
            content += piece
            if len(content) > BLOB_SIZE_MAX:
                detail = f"a blob has at most {BLOB_SIZE_MAX} bytes: cut it into several"
                raise RequestFault(413, "TooLarge", detail)
        blob = await self.runtime.put_blob(bytes(content))
        return web.json_response({"blob": blob, "size": len(content)})

    async def _get(self, request: web.Request) -> web.StreamResponse:
        blob = _blob_of(request)
        timeout_s = request.query.get("timeout_s", str(TIMEOUT_S))
        if not SECONDS.fullmatch(timeout_s) or float(timeout_s) > TIMEOUT_MAX_S:
            raise bad_request(f"'timeout_s' is a number of seconds up to {TIMEOUT_MAX_S:g}")
        await self.runtime.want_blob(blob, float(timeout_s))
        size = self.peer.blobs.size_of(blob)
        if size is None:
            raise RequestFault(404, "NotFound", "it was dropped meanwhile")
        response = web.StreamResponse(headers={"Content-Type": OCTETS})
        response.content_length = size
        await response.prepare(request)
        for part in range(1, -(-size // PART_SIZE) + 1):
            data = await self.runtime.read_part(blob, part)
            if data is None:  # too late for a status: the length tells the client
                break
            await response.write(data)
        return response

    async def _drop(self, request: web.Request) -> web.StreamResponse:
        blob = _blob_of(request)
        await self.runtime.drop_blob(blob)
        return web.json_response({"dropped": blob})

    async def _list(self, request: web.Request) -> web.StreamResponse:
        held = self.peer.blobs.held().items()
        rows = [{"blob": blob, "size": size, "lacks": lacks} for blob, (size, lacks) in held]
        return web.json_response(rows)


def _blob_of(request: web.Request) -> str:
    blob = request.match_info["blob"]
    if fault := fault_of(blob):
        raise bad_request(fault)
    return blob
