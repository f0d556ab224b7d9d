"""What this node asks people, at the client door, and their answers.

    GET  /v1/people             the tasks of `agent: human` that wait here, the oldest first
    GET  /v1/people/JOB/TASK    one of them, with all that there is to read for it as one `text`
    POST /v1/people/JOB/TASK    {"text": "yes", "files": {"a.txt": "...",
                                                          "b.png": {"base64": "..."}}}

The files are exactly those that the task writes; where it writes one, a text alone becomes that
file, and where it writes none, the text is the answer. What is not that is refused (400,
BadAnswer), and the question stays open. An answer that was taken is checked as any agent's result
is: `outcome` tells what came of it, "passed", "failed" with the check's words, "unchecked" if this
node cannot check it and another one will, or "checking" if that takes long. `asked_anew` says of
what failed whether attempts are left. 404: nobody is asked this here (any more).
"""

from __future__ import annotations

import asyncio
import base64
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
from protocol.effects import Assignment
from protocol.events import Failure
from protocol.jobs import File, shown
from protocol.team.notes import LACKING

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
        _encoded("text", text)
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
            became = self._became(question.assignment, fault_found)
        except TimeoutError:
            became = _told("checking")
        place = {name: self._view(question)[name] for name in ("job", "task", "slot", "node")}
        return web.json_response({**place, **became})

    def _became(self, assignment: Assignment, fault: AgentError | None) -> dict[str, Any]:
        """What came of an answer, and what follows."""
        if fault is None:
            return _told("passed")
        job = self.peer.ledger.jobs.get(assignment.job)
        task = job.tasks.get(assignment.task.id) if job else None
        if job is None or task is None or job.is_finished or not task.is_open:
            return _told("failed", fault.detail)
        notes = self.peer.team.notes
        if fault.reason is Failure.NO_CHECK:
            lacking = {n.node for n in notes.of(job.job.id, task.task.id) if n.reason in LACKING}
            can_check = self.peer.view().alive - lacking - {self.peer.node}
            if can_check and len(task.slots) == 1:
                return _told("unchecked", fault.detail)
            return _told("failed", fault.detail, asked_anew=bool(can_check))
        # This attempt may have been noted already, or not yet.
        this = (self.peer.node, assignment.slot, assignment.token)
        known = {(n.node, n.slot, n.token) for n in notes.counted(job.job.id, task.task.id)}
        used = known if fault.reason is Failure.ABORTED else known | {this}
        is_left = len(used) < task.task.attempts_max * len(task.slots)
        return _told("failed", fault.detail, asked_anew=is_left)

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


def _told(outcome: str, detail: str = "", asked_anew: bool = False) -> dict[str, Any]:
    return {"outcome": outcome, "detail": detail, "asked_anew": asked_anew}


def _content_of(path: str, value: object) -> bytes:
    if isinstance(value, str):
        return _encoded(f"files, {shown(path)}", value)
    if isinstance(value, dict) and list(value) == ["base64"] and isinstance(value["base64"], str):
        try:
            return base64.b64decode(value["base64"], validate=True)
        except ValueError as fault:  # what is no base64, and what is not even ASCII
            raise bad_request(f"files, {shown(path)}: this is not base64: {fault}") from None
    raise bad_request(f'files, {shown(path)}: give a text, or {{"base64": "..."}}')


def _encoded(what: str, text: str) -> bytes:
    """As UTF-8; JSON can name halves of characters, which are no text."""
    try:
        return text.encode()
    except UnicodeEncodeError as fault:
        half = f"\\u{ord(text[fault.start]):04x}"
        raise bad_request(f"{what}: {half} is half a character: give whole ones") from None
