"""What this node asks people, at the client door, and their answers.

    GET  /v1/people             the tasks of `agent: human` that wait here, the oldest first
    GET  /v1/people/JOB/TASK    one of them, with all that there is to read for it as one `text`
    POST /v1/people/JOB/TASK    {"text": "yes", "files": {"a.txt": "...",
                                                          "b.png": {"base64": "..."}}}

The files are exactly those that the task writes; where it writes one, a text alone becomes that
file, and where it writes none, the text is the answer. What is not that is refused (400,
BadAnswer), and the question stays open. An answer that was taken is checked as any agent's result
is: `outcome` tells what came of it, "passed", "failed" with the check's words (it will be asked
anew), or "checking" if that takes long. 404: nobody is asked this here (any more).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from typing import Any

from aiohttp import web

from node.agents import AgentError
from node.agents.human_agent import Question
from node.agents.invocation import Invocations
from node.doors.answers import RequestFault, bad_request, not_found
from node.doors.bodies import mapping_of
from node.prompt.opening import MARK_REQUEST, build_prompt, is_marked
from node.runtime import Runtime
from protocol.diagnosis import name_of
from protocol.jobs import File, shown

OUTCOME_WAIT_S = 20.0  # for the check of an answer, before its author is told that it goes on


class PeopleDoor:
    """See the module's text."""

    def __init__(self, runtime: Runtime, workers: Invocations) -> None:
        self.peer = runtime.peer
        self.workers = workers

    def routes(self) -> list[web.RouteDef]:
        """What this door serves."""
        return [
            web.get("/v1/people", self._all),
            web.get("/v1/people/{job}/{task}", self._one),
            web.post("/v1/people/{job}/{task}", self._answer),
        ]

    async def _all(self, request: web.Request) -> web.StreamResponse:
        return web.json_response([self._view(each) for each in self.workers.people.open()])

    async def _one(self, request: web.Request) -> web.StreamResponse:
        question = self._find(request)
        text = build_prompt(question.assignment)[-1].content
        if is_marked(question.assignment):
            text += f"\n{MARK_REQUEST}\n"
        return web.json_response({**self._view(question), "text": text})

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        given = await mapping_of(request, ("text", "files"))
        text, files = given.get("text", ""), given.get("files", {})
        if not isinstance(text, str) or not isinstance(files, dict):
            raise bad_request("'text' is a text, and 'files' maps paths to contents")
        read = [File(path, _content_of(path, value)) for path, value in files.items()]
        question = self._find(request)
        try:
            self.workers.people.take(question, text, read)
        except AgentError as fault:
            detail = f"task {question.assignment.task.id!r}: {fault.detail}"
            raise RequestFault(400, "BadAnswer", detail) from None
        try:
            async with asyncio.timeout(OUTCOME_WAIT_S):
                fault_found = await asyncio.shield(question.outcome)
            outcome = "failed" if fault_found else "passed"
        except TimeoutError:
            fault_found, outcome = "", "checking"
        place = {name: self._view(question)[name] for name in ("job", "task", "slot", "node")}
        return web.json_response({**place, "outcome": outcome, "detail": fault_found})

    def _find(self, request: web.Request) -> Question:
        """The oldest open question of the task."""
        job, task = request.match_info["job"], request.match_info["task"]
        for question in self.workers.people.open():
            if (question.assignment.job, question.assignment.task.id) == (job, task):
                return question
        me = name_of(self.peer, self.peer.node)
        raise not_found(f"task {shown(task)} of job {shown(job)} waits for nobody's answer at {me}")

    def _view(self, question: Question) -> dict[str, Any]:
        assignment, task = question.assignment, question.assignment.task
        asked_s = time.monotonic() - question.asked_at
        return {
            "job": assignment.job,
            "task": task.id,
            "slot": assignment.slot,
            "node": name_of(self.peer, self.peer.node),
            "title": task.title,
            "prompt": task.prompt,
            "inputs": {file.path: len(file.content) for file in assignment.inputs},
            "writes": list(task.writes),
            "verify": task.verify,
            "asked_s": round(asked_s, 3),
            "left_s": round(max(0.0, task.timeout_s - asked_s), 3),
            "failures": list(assignment.notes),
        }


def _content_of(path: str, value: object) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "replace")
    if isinstance(value, dict) and list(value) == ["base64"] and isinstance(value["base64"], str):
        try:
            return base64.b64decode(value["base64"], validate=True)
        except binascii.Error as fault:
            raise bad_request(f"files, {shown(path)}: this is not base64: {fault}") from None
    raise bad_request(f'files, {shown(path)}: give a text, or {{"base64": "..."}}')
