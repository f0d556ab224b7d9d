"""Values that nodes share by gossip, at the client door (`protocol.entries` says how they merge).

    PUT    /v1/entries/KEY   the body is the value; under last/, max/, sum/ and set/ it is merged in
                             that way, elsewhere concurrent values stay side by side
    DELETE /v1/entries/KEY   what this node has seen of it, and under sum/ only what it has added
                             itself; {"remains": {"value", "authors"}} tells what is left, or null
    GET    /v1/entries/KEY   {"value": merged, "versions": [{"author", "sequence", "value", ...}]}
    GET    /v1/entries?prefix=TEXT   keys, as far as this node has them

Text comes back as it is, other bytes as {"base64": ...}.
"""

from __future__ import annotations

import base64
from typing import Any

from aiohttp import web

from node.doors.answers import RequestFault, bad_request
from node.runtime import Runtime
from protocol.clocks import HybridClock
from protocol.diagnosis import name_of
from protocol.entries import CLIENT_VALUE_SIZE_MAX, FAMILIES, PREFIX, fault_of
from protocol.store import Join

ROOT = "/v1/entries"
LIST_MAX = 1_000


class EntriesDoor:
    """See the module's text."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.peer = runtime.peer

    def routes(self) -> list[web.RouteDef]:
        """What this door serves."""
        one = ROOT + "/{key:.+}"
        return [
            web.put(one, self._put),
            web.delete(one, self._delete),
            web.get(one, self._get),
            web.get(ROOT, self._list),
        ]

    async def _put(self, request: web.Request) -> web.StreamResponse:
        key = request.match_info["key"]
        await self._write(key, await request.read())
        return web.json_response({"key": key})

    async def _delete(self, request: web.Request) -> web.StreamResponse:
        key = request.match_info["key"]
        await self._write(key, None)
        left = self.peer.store.read(PREFIX + key)
        remains = None
        if left:
            authors = sorted({name_of(self.peer, version.author) for version in left})
            remains = {"value": self._merged(PREFIX + key), "authors": authors}
        is_sum = FAMILIES.join_of(PREFIX + key) is Join.SUM
        return web.json_response({"key": key, "is_sum": is_sum, "remains": remains})

    async def _write(self, key: str, value: bytes | None) -> None:
        fault = fault_of(key, value)
        if fault:
            if value is not None and len(value) > CLIENT_VALUE_SIZE_MAX:
                raise RequestFault(413, "TooLarge", fault)
            raise bad_request(fault)
        await self.runtime.write_entry(key, value)

    async def _get(self, request: web.Request) -> web.StreamResponse:
        key = PREFIX + request.match_info["key"]
        versions = self.peer.store.read(key)
        if not versions:
            raise RequestFault(404, "NotFound", "this node has no such entry")
        rows = [
            {
                "author": name_of(self.peer, version.author),
                "sequence": version.sequence,
                "written_ms": HybridClock.milliseconds(version.stamp),
                "value": shown(version.value),
            }
            for version in versions
        ]
        view: dict[str, Any] = {"key": request.match_info["key"], "versions": rows}
        join = FAMILIES.join_of(key)
        if join in (Join.MAX, Join.SUM, Join.UNION):  # what is written is packed, for the join
            for row in rows:
                del row["value"]
        view["value"] = self._merged(key)
        return web.json_response(view)

    def _merged(self, key: str) -> Any:
        """All versions as one, in JSON."""
        joined = self.peer.store.joined(key)
        match joined:
            case bytes():
                return shown(joined)
            case frozenset():
                return [shown(item) for item in sorted(joined)]
            case tuple():
                return [shown(item) for item in joined]
            case _:
                return joined

    async def _list(self, request: web.Request) -> web.StreamResponse:
        prefix = PREFIX + request.query.get("prefix", "")
        keys = [key.removeprefix(PREFIX) for key in self.peer.store.scan(prefix)]
        return web.json_response({"keys": keys[:LIST_MAX], "more": len(keys) > LIST_MAX})


def shown(value: bytes) -> str | dict[str, str]:
    """A value in JSON."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}
