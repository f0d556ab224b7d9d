"""One whole run: start a team, do a job, hurt the team on the way if asked, collect, stop.

Invariant: whatever happens in between, every process started here is stopped and the team's
folder removed (unless it shall be kept) before the function returns or raises.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from node.agents.settings import AgentSettings
from node.agents.verify import Verifier
from node.lab.alone import work_of
from node.lab.cluster import Cluster, ClusterError, ModelOptions, NodeEntry
from node.lab.door import REQUEST_TIMEOUT_S, Doors, route
from node.lab.majority import Majority
from node.lab.outcome import (
    Outcome,
    drawn_lengths,
    failures_in,
    hand_on_delays,
    left_behind,
    measured_in,
    percentiles_ms,
)
from node.lab.output import write_output
from node.lab.prediction import planned_for
from node.lab.schedule import Fault, FaultKind
from node.lab.watch import Progress, TaskProgress, ask_now_and_then, follow
from protocol import graph
from protocol.effects import Assignment
from protocol.errors import QuorateError
from protocol.job_rules import warnings_of
from protocol.jobs import File, Job

ELECTION_TIMEOUT_S = 30.0
VOTERS_MIN = 3  # of whom one may fail
SETTLE_TIMEOUT_S = 60.0  # after the job is finished: until every living node says so
RESTART_AFTER_S = 1.0  # kill-all: how long everybody is dead
CHECKS = "checks"  # the folder for the last check of the output
VIEW_TIMEOUT_S = 10.0  # for the job as it is when it is given up
_LOOK_S = 0.05


class RunFailed(QuorateError):
    """The run could not be brought to its end; one line."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How to run. `folder` keeps the team's folder there instead of a temporary one."""

    nodes: int = 5
    faults: tuple[Fault, ...] = ()
    output: Path | None = None
    model: ModelOptions = field(default_factory=ModelOptions)
    folder: Path | None = None
    timeout_s: float = 1_800.0
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for fault in self.faults:
            fault.check(self.nodes)


class Run:
    """A run under way: the job as submitted, the team, and what is known so far."""

    def __init__(self, job: Job, options: RunOptions, cluster: Cluster) -> None:
        self.job = job
        self.options = options
        self.cluster = cluster
        self.progress = Progress(job.id, {task.id: TaskProgress(task.id) for task in job.tasks})
        self.elected_s = 0.0
        self.struck: list[str] = []
        self.given_up = ""

    # -- the way of a run --------------------------------------------------------------------------

    async def execute(self, look: Callable[[], None]) -> Outcome:
        """Do it all; `look` is called whenever there is something new to show."""
        begun = time.monotonic()
        await self.start()
        await self._await_leader()
        self.elected_s = time.monotonic() - begun
        await self._prepare()
        observers = [
            asyncio.create_task(observe(self.progress, self.cluster.door(node)))
            for node in self.cluster.nodes
            for observe in (follow, ask_now_and_then)
        ]
        try:
            async with asyncio.timeout(self.options.timeout_s):
                await self.cluster.doors().submit(self.job)
                await self.watch(look)
                views = {} if self.given_up else await self._await_agreement()
        except TimeoutError:
            views = {}
            self.given_up = (
                f"out of time after {self.options.timeout_s:g} s: give a run longer "
                "(--within 2h), or the job to a team that stays ('quorate up', 'quorate submit')"
            )
        finally:
            for observer in observers:
                observer.cancel()
            await asyncio.gather(*observers, return_exceptions=True)
        return await self._collect(views or await self._views_now())

    async def start(self) -> None:
        """Start what does not run. Who cancels this waits until it is over: only then is it known
        what there is to stop."""
        (self.cluster.folder / CHECKS).mkdir(exist_ok=True)
        starting = asyncio.ensure_future(
            asyncio.to_thread(
                self.cluster.start,
                self.options.model,
                attached=True,
                environment=self.options.environment,
            )
        )
        try:
            await asyncio.shield(starting)
        except asyncio.CancelledError:
            await asyncio.wait({starting})
            raise

    async def _await_leader(self) -> None:
        """Everybody knows everybody, and who leads; and one may fail, if there are three."""
        doors = self.cluster.doors()
        size = len(self.cluster.nodes)
        deadline = time.monotonic() + ELECTION_TIMEOUT_S
        while time.monotonic() < deadline:
            statuses = await doors.gather("/v1/status")
            if len(statuses) == size and all(
                status
                and status["leader"]
                and status["alive"] == size
                and (size < VOTERS_MIN or len(status["voters"]) >= VOTERS_MIN)
                and not status["changing_from"]
                for status in statuses
            ):
                self.progress.leader = statuses[0]["leader"]
                self.progress.term = statuses[0]["term"]
                self.progress.names.update({s["node"]: s["name"] for s in statuses})
                return
            await asyncio.sleep(_LOOK_S)
        raise RunFailed(f"no leader, or not all nodes together, after {ELECTION_TIMEOUT_S:.0f} s")

    async def _prepare(self) -> None:
        """Let every node load its agents first, so that a run measures the team, not imports."""
        kinds = sorted({task.agent for task in self.job.tasks})

        async def one(node: NodeEntry) -> None:
            async with self.cluster.door(node) as door:
                await door.post("/v1/prepare", {"agents": kinds})

        await asyncio.gather(*(one(node) for node in self.cluster.nodes))

    async def watch(self, look: Callable[[], None]) -> None:
        """Until the job is finished and every fault has run its course."""
        striking: set[asyncio.Task[None]] = set()
        try:
            await self._watch_and_strike(look, striking)
        finally:
            for task in striking:
                task.cancel()
            await asyncio.gather(*striking, return_exceptions=True)

    async def _watch_and_strike(
        self, look: Callable[[], None], striking: set[asyncio.Task[None]]
    ) -> None:
        due = sorted(self.options.faults, key=lambda fault: fault.at)
        majority = Majority()
        while not self.progress.finished_at or any(not task.done() for task in striking):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    await self.progress.changed.wait()
            self.progress.changed.clear()
            for task in [task for task in striking if task.done()]:
                striking.discard(task)
                task.result()
            share = self.progress.accepted / len(self.progress.tasks)
            while due and share >= due[0].at and not self.progress.finished_at:
                striking.add(asyncio.create_task(self._strike(due.pop(0))))
            if not self.cluster.running() and not striking:
                raise RunFailed("every node has ended: see their logs with --keep")
            if not striking and len(self.cluster.running()) < len(self.cluster.nodes):
                self.given_up = await majority.why_lost(self.cluster.doors())
            look()
            if self.given_up:
                return

    async def _await_agreement(self) -> dict[str, dict[str, Any]]:
        """The job as every living node shows it, once they all have it finished and are idle."""
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        views: dict[str, dict[str, Any]] = {}
        while time.monotonic() < deadline:
            nodes = self.cluster.running()
            doors = Doors([node.door for node in nodes], self.cluster.token)
            statuses = await doors.gather("/v1/status")
            found = await doors.gather(route("jobs", self.job.id), REQUEST_TIMEOUT_S)
            views = {node.name: view for node, view in zip(nodes, found, strict=True) if view}
            settled = all(
                view and view["finished"] and status and not status["running"]
                for view, status in zip(found, statuses, strict=True)
            )
            if settled and len({status["store"]["entries"] for status in statuses}) == 1:
                return views
            await asyncio.sleep(_LOOK_S)
        return views

    async def _views_now(self) -> dict[str, dict[str, Any]]:
        """The job as every living node shows it that answers; first who has most of it."""
        nodes = self.cluster.running()
        doors = Doors([node.door for node in nodes], self.cluster.token)
        found = await doors.gather(route("jobs", self.job.id), VIEW_TIMEOUT_S)
        views = [(node.name, view) for node, view in zip(nodes, found, strict=True) if view]
        if not views and self.given_up:
            raise RunFailed(f"{self.given_up}; no node tells of the job")
        return dict(sorted(views, key=lambda each: -_accepted_in(each[1])))

    # -- faults ------------------------------------------------------------------------------------

    async def _strike(self, fault: Fault) -> None:
        """Let a fault happen, and its end if it has one."""
        victims = self._victims(fault)
        names = ",".join(node.name for node in victims)
        self.struck.append(f"{fault} hit {names or 'nobody'}")
        match fault.kind:
            case FaultKind.KILL_LEADER | FaultKind.KILL_FOLLOWERS:
                for node in victims:
                    node.process.signal(signal.SIGKILL)
            case FaultKind.KILL_ALL:
                for node in victims:
                    node.process.signal(signal.SIGKILL)
                await asyncio.sleep(RESTART_AFTER_S)
                await self.start()
            case FaultKind.STOP:
                for node in victims:
                    node.process.signal(signal.SIGSTOP)
                await asyncio.sleep(fault.seconds)
                for node in victims:
                    node.process.signal(signal.SIGCONT)
            case FaultKind.CUT:
                await self._cut(victims)
                await asyncio.sleep(fault.seconds)
                await self._cut([])

    def _victims(self, fault: Fault) -> list[NodeEntry]:
        running = self.cluster.running()
        leader = self.progress.name(self.progress.leader)
        followers = [node for node in running if node.name != leader]
        match fault.kind:
            case FaultKind.KILL_LEADER:
                return [node for node in running if node.name == leader]
            case FaultKind.KILL_ALL:
                return running
            case FaultKind.STOP:
                workers = {
                    self.progress.name(task.holder)
                    for task in self.progress.tasks.values()
                    if task.holder and not task.accepted_at
                }
                followers = [node for node in followers if node.name in workers] or followers
            case FaultKind.KILL_FOLLOWERS | FaultKind.CUT:
                pass
        return random.sample(followers, min(fault.count, len(followers)))

    async def _cut(self, minority: list[NodeEntry]) -> None:
        """Cut these nodes off from all others; nobody: heal."""
        ids = {name: node for node, name in self.progress.names.items()}
        running = self.cluster.running()
        apart = {node.name for node in minority}
        for node in running:
            others = [
                ids[other.name]
                for other in running
                if apart and (other.name in apart) != (node.name in apart)
            ]
            async with self.cluster.door(node) as door:
                await door.post("/v1/faults", {"drop": others})

    # -- the end -----------------------------------------------------------------------------------

    async def _collect(self, views: dict[str, dict[str, Any]]) -> Outcome:
        if not views:
            raise RunFailed("no node is left to tell the outcome")
        first_name, view = next(iter(views.items()))
        first = next(node for node in self.cluster.nodes if node.name == first_name)
        files = await Doors([first.door], self.cluster.token).files(self.job.id)
        digests = {name: seen["outcome"] for name, seen in views.items()}
        progress, options = self.progress, self.options
        model = options.model
        failures, uncounted = failures_in(progress)
        failed = sum(failures.values())
        lengths = drawn_lengths(self.job, model.model, model.seed, model.speed, failures)
        drawn = {task: (length,) for task, length in lengths.items()} if lengths else None
        work = work_of(self.job, progress, view)
        done_by = Counter(
            task["accepted"]["name"] for task in view["tasks"] if task["accepted"] is not None
        )
        kinds = Counter(fact["type"] for fact in progress.facts)
        makespan_s = round((progress.finished_at or time.time()) - progress.submitted_at, 3)
        planned = planned_for(self.job, options.nodes, model)
        measured = measured_in(progress, view)
        output = options.output
        if output is not None:
            run = {
                "nodes": options.nodes,
                "makespan_s": makespan_s,
                "planned": asdict(planned) if planned else None,
                "measured": measured,
                "failed_attempts": failed,
                "failed_by_task": failures,
            }
            write_output(output, files, view, run)
        return Outcome(
            job=self.job.id,
            nodes=options.nodes,
            claims=self.job.claims.value,
            succeeded=view["succeeded"],
            agreed=len(set(digests.values())) == 1 and view["finished"],
            outcome=view["outcome"],
            digests=digests,
            tasks=view["tasks"],
            done_by=dict(sorted(done_by.items())),
            leader=progress.name(progress.leader),
            term=progress.term,
            elected_s=round(self.elected_s, 3),
            makespan_s=makespan_s,
            alone_s=None if work is None else round(sum(map(sum, work.values())), 3),
            scheduled_s=self._schedule(work, self.job.weights),
            work_s=None if lengths is None else round(sum(lengths.values()), 3),
            ideal_s=self._schedule(drawn, self.job.weights),
            clairvoyant_s=self._schedule(drawn, lengths),
            planned=planned,
            amdahl=round(graph.amdahl_bound(self.job.needs, options.nodes), 3),
            work_span=round(graph.work_span_bound(self.job.needs, options.nodes), 3),
            tokens_in=view["usage"]["tokens_in"],
            tokens_out=view["usage"]["tokens_out"],
            tokens_lost=_tokens(view["spent"]) - _tokens(view["usage"]),
            simulated=view["usage"]["simulated"],
            spent=view["spent"],
            costs=view["costs"],
            budget=view["budget"],
            siblings=view["siblings"],
            merges=view["merges"],
            failed_attempts=failed,
            uncounted_attempts=uncounted,
            failed_by_task=failures,
            races=sum(bool(fact.get("races")) for fact in progress.facts),
            late_results=sum(not late["spare"] for task in view["tasks"] for late in task["late"]),
            collisions=kinds["ClaimLost"],
            hand_on_ms=percentiles_ms(hand_on_delays(self.job, progress)),
            measured=measured,
            checks=await check_output(
                self.job,
                files,
                self.cluster.folder / CHECKS,
                [task["id"] for task in view["tasks"] if task["accepted"]],
            ),
            faults=self.struck,
            output=str(output) if output else "",
            warnings=warnings_of(self.job),
            given_up="" if view["finished"] else self.given_up,
            left=left_behind(progress),
        )

    def _schedule(
        self,
        lengths: Mapping[str, Sequence[float]] | None,
        expected: Mapping[str, float] | None,
    ) -> float | None:
        """The makespan of a team without any coordination cost, for the same answers."""
        if lengths is None:
            return None
        schedule = graph.ListSchedule(self.job.needs, expected)
        return round(schedule.makespan(lengths, self.options.nodes), 3)


def _accepted_in(view: dict[str, Any]) -> int:
    return sum(task["accepted"] is not None for task in view["tasks"])


def _tokens(usage: dict[str, Any]) -> int:
    return int(usage["tokens_in"] + usage["tokens_out"])


async def check_output(
    job: Job, files: list[File], scratch: Path, accepted: Collection[str]
) -> dict[str, str]:
    """Run the check of every accepted task once more, on all accepted files together: task -> what
    was wrong, empty if it passed."""
    # As on the nodes: a check that passed there must find here what it found there.
    variables = AgentSettings.from_environment(os.environ, scratch).program_variables
    verifier = Verifier(scratch, variables=variables)

    async def one(number: int) -> tuple[str, str]:
        task = job.tasks[number]
        assignment = Assignment(job.id, task, 0, 0, inputs=tuple(files), fixtures=job.files)
        found = await verifier.check(assignment, ())
        return task.id, found.fault

    checked = [
        number
        for number, task in enumerate(job.tasks)
        if task.verify and task.writes and task.id in accepted
    ]
    return dict(await asyncio.gather(*(one(number) for number in checked)))


@asynccontextmanager
async def local_run(job: Job, options: RunOptions) -> AsyncIterator[Run]:
    """A run with its team's folder; everything is stopped and removed at the end."""
    keep = options.folder is not None
    folder = options.folder or Path(tempfile.mkdtemp(prefix="quorate-"))
    needs_faults = any(fault.kind is FaultKind.CUT for fault in options.faults)
    cluster: Cluster | None = None
    try:
        cluster = Cluster.create(folder, options.nodes, allow_faults=needs_faults)
        yield Run(job, options, cluster)
    finally:
        if cluster is not None:
            killed = cluster.stop()
            if killed and keep:
                print(f"had to be killed: {', '.join(killed)}")
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


async def run_job(
    job: Job, options: RunOptions, look: Callable[[Run], None] | None = None
) -> Outcome:
    """Run a job from beginning to end on a team of its own."""
    async with local_run(job, options) as run:
        return await run.execute(lambda: look(run) if look else None)


__all__ = ["ClusterError", "Run", "RunFailed", "RunOptions", "check_output", "run_job"]
