"""FACT notes at the client door: what the agents of a job may need to know.

GET  /v1/jobs/JOB/notes    all that are known here, oldest first
POST /v1/jobs/JOB/notes    {"text": "ids are UUIDs", "scope": "path", "about": "db.py",
                           "lifetime_s": 600}; without a scope it is about the job, and without
                           a lifetime it holds as long as the job goes on
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from node.doors.answers import bad_request
from node.doors.bodies import mapping_of
from node.runtime import Runtime
from protocol.diagnosis import name_of
from protocol.team.lore import LIFETIME_MAX_S, FactNote, Scope


class NotesDoor:
    """See the module's text."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.peer = runtime.peer

    def routes(self) -> list[web.RouteDef]:
        """What this door serves."""
        return [
            web.get("/v1/jobs/{job}/notes", self._all),
            web.post("/v1/jobs/{job}/notes", self._write),
        ]

    async def _all(self, request: web.Request) -> web.StreamResponse:
        notes = self.peer.team.lore.all(request.match_info["job"])
        return web.json_response([self._view(note) for note in notes])

    async def _write(self, request: web.Request) -> web.StreamResponse:
        asked = await mapping_of(request, ("text", "scope", "about", "lifetime_s"))
        text, about = asked.get("text"), asked.get("about", "")
        scope, lifetime_s = asked.get("scope", Scope.JOB.value), asked.get("lifetime_s", 0)
        if not all(isinstance(each, str) for each in (text, about, scope)):
            raise bad_request("'text', 'scope' and 'about' are texts")
        if type(lifetime_s) not in (int, float) or not 0 <= lifetime_s <= LIFETIME_MAX_S:
            raise bad_request(f"'lifetime_s' is a number of seconds up to {LIFETIME_MAX_S}")
        job = request.match_info["job"]
        await self.runtime.note(job, scope, about, str(text), lifetime_s)
        return web.json_response({"noted": text})

    def _view(self, note: FactNote) -> dict[str, Any]:
        return {
            "node": note.node,
            "name": name_of(self.peer, note.node),
            "scope": note.scope.value,
            "about": note.about,
            "text": note.text,
            "written_at_ms": note.written_at,
            "expires_at_ms": note.expires_at,
        }
