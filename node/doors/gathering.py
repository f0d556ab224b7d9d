"""What an operator may do to the team as a whole, at the client door.

    POST /v1/announce {"name": "deploy", "payload": "v2"}    every member reports an EventReceived
    POST /v1/query    {"name": "load", "timeout_s": 2}       every member is asked: what they said,
                                                             who does not know such queries, and
                                                             who was there and said nothing
    POST /v1/join     {"seeds": ["10.0.0.7:7700"]}           more addresses of the team; a host's
                                                             name or "[::1]:7700" will do as well
    POST /v1/tags     {"role": "gpu", "rack": ""}            what all shall know of this node while
                                                             it runs; "" takes a word back
    POST /v1/forget   {"node": NAME or ID}                   of one that has failed or left

A name and a payload are text. What nodes answer to queries is in `node.queries`, and in programs of
their users' own: `node.answering`.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from node.doors.answers import RequestFault, bad_request
from node.doors.bodies import mapping_of
from node.runtime import Runtime
from node.settings import DEFAULT_PORT, Address, SettingsError
from protocol.diagnosis import name_of, names_apart
from protocol.identity import NodeId
from protocol.membership import tags_of

QUERY_TIMEOUT_S = 2.0
QUERY_TIMEOUT_MAX_S = 60.0
SEEDS_MAX = 16  # of one request


class GatheringDoor:
    """See the module's text."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.peer = runtime.peer

    def routes(self) -> list[web.RouteDef]:
        """What this door serves."""
        return [
            web.post("/v1/announce", self._announce),
            web.post("/v1/query", self._query),
            web.post("/v1/join", self._join),
            web.post("/v1/tags", self._tag),
            web.post("/v1/forget", self._forget),
        ]

    async def _announce(self, request: web.Request) -> web.StreamResponse:
        asked = await mapping_of(request, ("name", "payload"))
        name, payload = _words(asked)
        await self.runtime.announce(name, payload)
        return web.json_response({"announced": name})

    async def _query(self, request: web.Request) -> web.StreamResponse:
        asked = await mapping_of(request, ("name", "payload", "timeout_s"))
        name, payload = _words(asked)
        timeout_s = asked.get("timeout_s", QUERY_TIMEOUT_S)
        if type(timeout_s) not in (int, float) or not 0 < timeout_s <= QUERY_TIMEOUT_MAX_S:
            raise bad_request(f"'timeout_s' is a number up to {QUERY_TIMEOUT_MAX_S:g}")
        found = await self.runtime.query(name, payload, timeout_s)
        names = names_apart(self.peer, [*(node for node, _ in found.answers), *found.silent])
        return web.json_response(
            {
                "answers": {names[node]: said for node, said in found.answers if said},
                "unknown": [names[node] for node, said in found.answers if not said],
                "silent": [names[node] for node in found.silent],
            }
        )

    async def _join(self, request: web.Request) -> web.StreamResponse:
        seeds = (await mapping_of(request, ("seeds",))).get("seeds")
        if not isinstance(seeds, list) or not 0 < len(seeds) <= SEEDS_MAX:
            raise bad_request(f"'seeds' is a list of 1 to {SEEDS_MAX} addresses, host:port")
        called = tuple(_endpoint(seed) for seed in seeds)
        await self.runtime.join(called)
        return web.json_response({"called": called})

    async def _tag(self, request: web.Request) -> web.StreamResponse:
        tags = await mapping_of(request, None)
        if not all(isinstance(value, str) for value in tags.values()):
            raise bad_request("the value of a tag is a text")
        await self.runtime.tag(tags)
        return web.json_response({"tags": tags_of(self.peer.membership.own)})

    async def _forget(self, request: web.Request) -> web.StreamResponse:
        wanted = (await mapping_of(request, ("node",))).get("node")
        members = self.peer.membership.members()
        found = [node for node in members if wanted in (node, name_of(self.peer, node))]
        if len(found) != 1:
            detail = f"this node knows {len(found) or 'no'} nodes {wanted!r}: name one by its id"
            raise RequestFault(404, "NotFound", detail)
        await self.runtime.forget(NodeId(found[0]))
        return web.json_response({"forgotten": found[0]})


def _endpoint(seed: object) -> str:
    """An address to call: a host's name, or its IPv4 or bracketed IPv6 address, and the port."""
    try:
        return str(Address.parse(seed if isinstance(seed, str) else "", DEFAULT_PORT, port_min=1))
    except SettingsError as fault:
        raise bad_request(str(fault)) from None


def _words(asked: dict[str, Any]) -> tuple[str, str]:
    """Name and payload."""
    name, payload = asked.get("name"), asked.get("payload", "")
    if not isinstance(name, str) or not isinstance(payload, str):
        raise bad_request("'name' and 'payload' are texts")
    return name, payload
