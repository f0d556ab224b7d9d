"""A job of a team that runs by itself: how it is submitted, goes on until its end, and is cancelled
before.

Invariant: nobody waits without a word: what a request waits for, and by which door a job is
followed if not by the one that was named, is told as soon as it is known.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from node.lab.door import GONE_TIMEOUT_S, DoorError, Doors, route
from node.lab.watch import Progress, TaskProgress
from protocol.jobs import Job

PATIENCE_S = 2.0  # until who waits is told what for
LOOK_EVERY_S = 1.0
NOT_CONFIRMED = ("TimedOut", "Busy", "NoLeader", "NotLeader")

Say = Callable[[str], None]
T = TypeVar("T")


async def submit(doors: Doors, job: Job, say: Say) -> str:
    """Submit a job: its id. After a moment it is told why that takes so long; DoorError, with the
    job's id and what can be done, if no majority has confirmed it."""
    return await _confirmed(doors, doors.submit(job), job.id, job.id, "the job was taken", say)


async def cancel(doors: Doors, job_id: str, reason: str, say: Say) -> None:
    """Let a job end before it is done; told and raised as by `submit`."""
    what = f"the end of {job_id}"
    await _confirmed(doors, doors.cancel(job_id, reason), job_id, what, "it has ended", say)


async def _confirmed(
    doors: Doors, asked: Coroutine[Any, Any, T], job_id: str, what: str, whether: str, say: Say
) -> T:
    """The answer to what a majority of the team has to confirm."""
    asking = asyncio.ensure_future(asked)
    telling = asyncio.ensure_future(_tell_why_it_waits(doors, what, say))
    try:
        return await asking
    except DoorError as fault:
        if fault.kind not in NOT_CONFIRMED:
            raise
        raise DoorError(
            fault.kind,
            f"{job_id}: {fault}; 'quorate status' says what is missing, and once there is a leader "
            f"'quorate tasks {job_id}' whether {whether}",
        ) from None
    finally:
        for task in (asking, telling):
            task.cancel()
        await asyncio.gather(asking, telling, return_exceptions=True)


async def _tell_why_it_waits(doors: Doors, what: str, say: Say) -> None:
    """Say once that it waits, and why as soon as a node knows that."""
    await asyncio.sleep(PATIENCE_S)
    say(f"waiting for a majority of the team to confirm {what} ...")
    while True:
        for status in await doors.gather("/v1/status"):
            if status and status["why_no_leader"]:
                say(f"no leader, as {status['name']} sees it:")
                for reason in status["why_no_leader"]:
                    say(f"  - {reason}")
                return
        await asyncio.sleep(LOOK_EVERY_S)


@dataclass(frozen=True, slots=True)
class Node:
    """A member of the team, by its name."""

    name: str


@dataclass(slots=True)
class Team:
    """The team as one of its nodes sees it; `folder` is that of a team on this machine."""

    folder: Path
    nodes: list[Node] = field(default_factory=list)
    alive: list[Node] = field(default_factory=list)

    def running(self) -> list[Node]:
        return self.alive


class Following:
    """A job under way, as one of the doors tells it."""

    def __init__(self, job: Job, job_id: str, doors: Doors, folder: Path) -> None:
        self.job = job
        self.doors = doors
        self.progress = Progress(job_id, {task.id: TaskProgress(task.id) for task in job.tasks})
        self.cluster = Team(folder)
        self.struck: list[str] = []

    async def look(self) -> None:
        """Ask how it is now. DoorError."""
        view = await self.doors.get(route("jobs", self.progress.job))
        status = await self.doors.get("/v1/status")
        members = await self.doors.get("/v1/members")
        rows = [row for row in members if row["state"] != "left"]
        self.cluster.nodes = [Node(row["name"]) for row in rows]
        self.cluster.alive = [Node(row["name"]) for row in rows if row["state"] == "alive"]
        progress = self.progress
        progress.names.update({row["node"]: row["name"] for row in members})
        progress.term, progress.leader = status["term"], status["leader"]
        progress.is_led = bool(status["leader"]) and not status["why_no_leader"]
        take_view(progress, view, time.time())


def take_view(progress: Progress, view: dict[str, Any], now: float) -> None:
    """The job as a node shows it. Times are those at which it was first seen so."""
    progress.at_work = {}
    for row in view["tasks"]:
        task = progress.tasks.setdefault(row["id"], TaskProgress(row["id"]))
        if row["accepted"]:
            task.accepted_at = task.accepted_at or now
            task.accepted_by = row["accepted"]["node"]
            progress.names[task.accepted_by] = row["accepted"]["name"]
        elif row["holders"]:
            task.holder = row["holders"][0]
            progress.names[task.holder] = task.holder  # a name already
            task.started_at = task.started_at or now
            progress.at_work.setdefault(task.holder, set()).add((task.task, 0))
        task.abandoned = bool(row["abandoned"])
        if len(row["failures"]) > task.failures:
            last = row["failures"][-1]
            progress.last_failure = f"{task.task}: {last['reason']}: {last['detail']}"
            task.failures = len(row["failures"])


async def follow_to_end(
    following: Following, names: dict[str, str], show: Callable[[Following], None], say: Say
) -> dict[str, Any]:
    """The job's view once it is finished, shown as it goes on. DoorError if nothing is heard of it
    for long."""
    doors = following.doors
    teller = _Teller(doors, names, following.progress.job, say)

    async def watch() -> None:
        while True:
            try:
                await following.look()
            except DoorError:
                teller.nobody_answers()
            else:
                teller.somebody_answers()
                show(following)
            await asyncio.sleep(LOOK_EVERY_S)

    watching = asyncio.ensure_future(watch())
    try:
        view = await doors.await_end(following.progress.job)
        teller.somebody_answers()
        return view
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


class _Teller:
    """Says by which door a job is followed, if that is another than before, and if there is none
    for the moment."""

    def __init__(self, doors: Doors, names: dict[str, str], job: str, say: Say) -> None:
        self._doors = doors
        self._names = names
        self._job = job
        self._say = say
        self._before = doors.addresses[0] if doors.addresses else ""
        self._is_silent = False

    def somebody_answers(self) -> None:
        self._is_silent = False
        now, before = self._doors.answering, self._before
        if now and now != before:
            self._before = now
            self._say(
                f"{self._name(before)} does not answer: following {self._job} at {self._name(now)}"
            )

    def nobody_answers(self) -> None:
        if not self._is_silent:
            self._is_silent = True
            asked = ", ".join(self._name(address) for address in self._doors.addresses)
            self._say(f"no answer from {asked}: waiting {GONE_TIMEOUT_S:.0f} s for one")

    def _name(self, address: str) -> str:
        return self._names.get(address, address)


def doors_to_follow(doors: Doors, others: Sequence[str]) -> Doors:
    """The doors themselves, and `others` of the same team if those are away."""
    missing = [address for address in others if address not in doors.addresses]
    return Doors([*doors.addresses, *missing], doors.token) if missing else doors
