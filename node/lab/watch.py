"""Watching a job from outside: every node's facts, put together as they come.

What a team did is the union of what its nodes report; a node may die while it is watched. The
times are the nodes' wall clocks, which on one machine are one clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from typing import Any

from node.lab.door import Door, DoorError, route

FACTS_MAX = 500_000
RECONNECT_S = 0.2
ASK_EVERY_S = 2.0  # for the job's state, should its end not be heard of


@dataclass(slots=True)
class TaskProgress:
    """One task as it went. Times are seconds since the epoch, 0 if it did not happen yet."""

    task: str
    holder: str = ""
    started_at: float = 0.0
    accepted_at: float = 0.0
    accepted_by: str = ""
    failures: int = 0
    late: int = 0
    abandoned: bool = False


@dataclass(slots=True)
class Progress:
    """All that is known of the job so far."""

    job: str
    tasks: dict[str, TaskProgress]
    names: dict[str, str] = field(default_factory=dict)  # node id -> name
    leader: str = ""  # the last one that is known
    is_led: bool = True  # the leader has not stepped down since
    term: int = 0
    last_failure: str = ""
    submitted_at: float = 0.0
    finished_at: float = 0.0
    succeeded: bool = False
    facts: list[dict[str, Any]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    at_work: dict[str, set[tuple[str, int]]] = field(default_factory=dict)  # node -> task and slot

    @property
    def accepted(self) -> int:
        return sum(task.accepted_at > 0 for task in self.tasks.values())

    @property
    def working(self) -> set[str]:
        """The tasks that an agent works on, whether its node was given them or races for them."""
        begun = {task for units in self.at_work.values() for task, _ in units}
        return {task for task in begun if not self.tasks[task].accepted_at}

    def lose(self, node: str) -> None:
        """Nothing is heard of a node any more: it has ended, and with it what it worked on."""
        self.at_work.pop(node, None)
        self.changed.set()

    def take_end(self, view: dict[str, Any]) -> None:
        """The job as a node shows it: its end is known, also if nobody was heard telling it."""
        if view["finished"] and not self.finished_at:
            self.finished_at = time.time()
            self.succeeded = view["succeeded"]
            self.changed.set()

    def name(self, node: str) -> str:
        return self.names.get(node, node[:6])

    def take(self, record: dict[str, Any]) -> None:
        """A fact from some node."""
        if len(self.facts) < FACTS_MAX:
            self.facts.append(record)
        self.names[record["at"]] = record["agent"]
        kind, at = record["type"], float(record["ts"])
        if kind == "LeaderElected" and record["term"] >= self.term:
            if record["leader"]:
                self.term, self.leader, self.is_led = record["term"], record["leader"], True
            elif record["at"] == self.leader:
                self.is_led = False
        if record.get("job") == self.job:
            self._take_job(kind, at, record)
        self.changed.set()

    def _take_job(self, kind: str, at: float, record: dict[str, Any]) -> None:
        task = self.tasks.get(record.get("task", ""))
        if kind == "JobSubmitted":
            self.submitted_at = min(self.submitted_at or at, at)
        elif kind == "JobFinished":
            self.finished_at = min(self.finished_at or at, at)
            self.succeeded = record["succeeded"]
        elif task is None:
            return
        elif kind == "TaskClaimed" and not task.accepted_at:
            task.holder = record["node"]
        elif kind == "TaskStarted":
            self.at_work.setdefault(record["at"], set()).add((task.task, record["slot"]))
            if not record["races"]:
                task.holder, task.started_at = record["at"], at
        elif kind == "TaskAccepted":
            task.accepted_at = min(task.accepted_at or at, at)
            task.accepted_by = record["node"]
        elif kind == "AttemptFailed":
            task.failures += 1
            self._end(record)
            self.last_failure = f"{record['task']}: {record['reason']}: {record['detail']}"
        elif kind in ("TaskCompleted", "AttemptAborted"):
            self._end(record)
        elif kind == "ResultLate":
            task.late += record["at"] == record["node"]
        elif kind == "TaskAbandoned":
            task.abandoned = True

    def _end(self, record: dict[str, Any]) -> None:
        """An agent has ended, in whatever way."""
        self.at_work.get(record["at"], set()).discard((record["task"], record["slot"]))


async def follow(progress: Progress, node: Door) -> None:
    """Take a node's facts until cancelled; a node that is away is called again."""
    while True:
        told_by = ""
        with contextlib.suppress(DoorError):
            async with node as door:
                async for record in door.facts():
                    told_by = record["at"]
                    progress.take(record)
        progress.lose(told_by)
        await asyncio.sleep(RECONNECT_S)


async def ask_now_and_then(progress: Progress, node: Door) -> None:
    """Ask a node whether the job is finished, until cancelled: whoever was heard may have died
    before it told. One node's silence, as when it is stopped, keeps no other from answering."""
    while True:
        await asyncio.sleep(ASK_EVERY_S)
        with contextlib.suppress(DoorError):
            async with node as door:
                progress.take_end(await door.get(route("jobs", progress.job)))
