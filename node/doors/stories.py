"""What one node knows of how a task came about, at the client door.

    GET /v1/tasks/TASK                     {"jobs": [the ids of those that have it, oldest first]}
    GET /v1/jobs/JOB/tasks/TASK/story      see `story_view`

A task that is not there is answered with the ids that are most like it. Invariant: the facts come
from this node's own record, within the bounds of `recollection`; the log and the store are told as
they are here at the moment, so that what the record has lost is not lost altogether.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from difflib import get_close_matches
from typing import Any

from aiohttp import web

from node.doors.answers import not_found
from node.doors.versions import task_parts_view
from node.doors.views import task_view
from node.recollection import Recollection, recollect
from node.runtime import Runtime
from protocol import claims, codec
from protocol.claims import Claim, FailNote
from protocol.clocks import SECOND, HybridClock, Nanoseconds
from protocol.diagnosis import name_of
from protocol.errors import Busy, RemoteProtocolError
from protocol.identity import NOBODY
from protocol.jobs import ClaimMode, shown
from protocol.ledger import JobState, TaskState, Unit
from protocol.peer import Peer

READS_MAX = 4  # of this node's record, or searches for an id, at a time
CHAIN_MAX = 200  # tasks that are waited for, the nearest ones
NOTES_MAX = 200  # FAIL notes, the newest ones
NEAREST_MAX = 3
COMPARED_MAX = 2_000  # ids, the first ones


class StoriesDoor:
    """See the module's text."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.peer = runtime.peer
        self._reads = 0

    def routes(self) -> list[web.RouteDef]:
        """What this door serves."""
        return [
            web.get("/v1/tasks/{task}", self._jobs_of),
            web.get("/v1/jobs/{job}/tasks/{task}/story", self._story),
        ]

    async def _jobs_of(self, request: web.Request) -> web.StreamResponse:
        task, jobs = request.match_info["task"], self.peer.ledger.jobs.values()
        found = [state.job.id for state in jobs if task in state.tasks]
        if not found:
            known = {each: None for state in reversed(jobs) for each in state.tasks}
            raise not_found(f"no job has a task {shown(task)}{await self._like(task, list(known))}")
        return web.json_response({"jobs": found})

    async def _story(self, request: web.Request) -> web.StreamResponse:
        job_id, task_id = request.match_info["job"], request.match_info["task"]
        job = self.peer.ledger.jobs.get(job_id)
        if job is None:
            ids = list(reversed(self.peer.ledger.jobs))
            like = await self._like(job_id, ids)
            raise not_found(f"this node knows no job {shown(job_id)}{like}")
        if task_id not in job.tasks:
            like = await self._like(task_id, list(job.tasks))
            raise not_found(f"job {job_id} has no task {shown(task_id)}{like}")
        telemetry = self.runtime.telemetry
        async with self._reading():
            found = await asyncio.to_thread(recollect, telemetry.data_dir, job_id, task_id)
        view = story_view(self.peer, job, job.tasks[task_id], found, time.monotonic_ns())
        return web.json_response({**view, "lines_lost": telemetry.lost})

    async def _like(self, word: str, known: list[str]) -> str:
        """`nearest`, beside the loop: comparing takes 15 us for each id, and more if it is long."""
        async with self._reading():
            return await asyncio.to_thread(nearest, word, known)

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[None]:
        """One of the threads that may be at work for this door."""
        if self._reads >= READS_MAX:
            raise Busy(f"{READS_MAX} stories are being told already; try again")
        self._reads += 1
        try:
            yield
        finally:
            self._reads -= 1


def nearest(word: str, known: list[str]) -> str:
    """ "; there is ..." with the ids that are most like it; or with some, if none is."""
    compared = known[:COMPARED_MAX]
    like = get_close_matches(word, compared, NEAREST_MAX, cutoff=0.5) or known[:NEAREST_MAX]
    return f"; there is {', '.join(like)}" if like else ""


def story_view(
    peer: Peer, job: JobState, state: TaskState, found: Recollection, now: Nanoseconds
) -> dict[str, Any]:
    """All that this node knows of a task: `facts` are its own record's, `dropped` of which are left
    out; `task` and `slots` are as the log and the claims are, `waits_for` what has to be accepted
    before it, the nearest first; `claims`, `notes` and `parts` are what the store has, each with
    its author, sequence and hybrid time."""
    job_id, task = job.job.id, state.task
    return {
        "node": peer.node,
        "name": peer.settings.name,
        "applied": peer.ledger.applied,
        "job": job_id,
        "claims_by": job.job.claims.value,
        "submitted_index": job.index,
        "finished": job.is_finished,
        "resumes": job.job.resumes,
        "lease_s": peer.config.team.lease_ns / SECOND,
        "names": {node: name_of(peer, node) for node in (peer.node, *peer.membership.members())},
        "task": {
            **task_view(peer, job, state, now),
            "verify": task.verify,
            "verify_by": task.verify_by.value,
            "attempts_max": task.attempts_max,
            "quorum": {"of": task.quorum.of, "agree": task.quorum.agree},
            "waits_for_judge": state.waits_for_judge(),
        },
        "needs": [_need_view(peer, job.tasks[need]) for need in task.needs],
        "slots": list(_slot_views(peer, job, state, now)),
        "waits_for": list(_chain(peer, job, state, now)),
        "claims": list(_claim_views(peer, job_id, task.id)),
        "notes": list(_note_views(peer, job_id, task.id)),
        "parts": [
            {"path": path, **part}
            for path in task.writes
            for part in task_parts_view(peer, job, state, path)
        ],
        "facts": list(found.records),
        "dropped": found.dropped,
        "begins_s": found.begins_s,
    }


def _need_view(peer: Peer, need: TaskState) -> dict[str, Any]:
    accepted = need.accepted
    return {
        "id": need.task.id,
        "accepted_from": name_of(peer, accepted.node) if accepted else "",
        "index": accepted.index if accepted else 0,
    }


def _slot_views(
    peer: Peer, job: JobState, state: TaskState, now: Nanoseconds
) -> Iterator[dict[str, Any]]:
    """Who is at each of the answers: `held_s` is for how long, `heard_s` when it was heard of last,
    both as this node hears; None if that is not known here."""
    for number, slot in enumerate(state.slots):
        unit: Unit = (job.job.id, state.task.id, number)
        holder = peer.team.holder_of(unit) if state.is_open else NOBODY
        held = peer.team.book.get(unit)
        is_heard = held is not None and held.claim.node == holder
        by_store = job.job.claims is ClaimMode.LEASE
        yield {
            "slot": number,
            "fence": slot.fence,
            "holder": name_of(peer, holder) if holder else "",
            "token": held.claim.token if held and by_store else slot.token,
            "phase": held.claim.phase.value if held and is_heard else "",
            "held_s": (now - held.since) / SECOND if held and is_heard else None,
            "heard_s": (now - held.heard_at) / SECOND if held and is_heard else None,
            "racers": [name_of(peer, node) for node in peer.team.racers_of(peer.view(), unit, now)],
            "answered": slot.answer is not None,
            "unreviewed": [name_of(peer, answer.node) for answer in slot.candidates],
        }


def _chain(
    peer: Peer, job: JobState, state: TaskState, now: Nanoseconds
) -> Iterator[dict[str, Any]]:
    """What has to be accepted before this task, and who is at it."""
    for each, missing in chain_of(job, state):
        yield {
            "id": each.task.id,
            "abandoned": each.abandoned,
            "needs": missing,
            "slots": list(_slot_views(peer, job, each, now)),
        }


def chain_of(job: JobState, state: TaskState) -> Iterator[tuple[TaskState, list[str]]]:
    """What has to be accepted before this task: its needs first, then theirs, and so on; each with
    what it waits for itself."""
    if not state.is_open:
        return

    def missing(task_id: str) -> list[str]:
        needs = job.tasks[task_id].task.needs
        return [need for need in needs if job.tasks[need].accepted is None]

    reached = dict.fromkeys(missing(state.task.id))
    waiting = deque(reached)
    while waiting and len(reached) < CHAIN_MAX:
        further = [need for need in missing(waiting.popleft()) if need not in reached]
        reached.update(dict.fromkeys(further))
        waiting.extend(further)
    for task_id in list(reached)[:CHAIN_MAX]:
        yield job.tasks[task_id], missing(task_id)


def _claim_views(peer: Peer, job: str, task: str) -> Iterator[dict[str, Any]]:
    """Claims and races in the store, siblings side by side."""
    keys = peer.store.scan(f"claim/{job}/{task}/") + peer.store.scan(f"race/{job}/{task}/")
    for key in keys:
        race = claims.race_of(key)
        unit = race[0] if race else claims.unit_of(key)
        if unit is None:
            continue
        for version in peer.store.read(key):
            try:
                claim = codec.unpack_value(Claim, version.value)
            except RemoteProtocolError:
                continue  # illegible: a node of another version wrote it
            yield {
                "slot": unit[2],
                "node": version.author,
                "token": claim.token,
                "phase": claim.phase.value,
                "races": race is not None,
                "sequence": version.sequence,
                "wall_ms": HybridClock.milliseconds(version.stamp),
            }


def _note_views(peer: Peer, job: str, task: str) -> Iterator[dict[str, Any]]:
    """Why attempts gave no result, as their nodes said to all; also of those that are gone now."""
    versions = [
        version
        for key in peer.store.scan(f"note/{job}/{task}/")
        for version in peer.store.read(key)
        if version.author == key.split("/")[3]
    ]
    for version in sorted(versions, key=lambda each: each.stamp)[-NOTES_MAX:]:
        try:
            note = codec.unpack_value(FailNote, version.value)
        except RemoteProtocolError:
            continue
        yield {
            "node": version.author,
            "slot": note.slot,
            "token": note.token,
            "reason": note.reason,
            "detail": note.detail,
            "sequence": version.sequence,
            "wall_ms": HybridClock.milliseconds(version.stamp),
        }
