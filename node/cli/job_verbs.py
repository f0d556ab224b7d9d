"""Verbs about jobs: run, submit, tasks."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from node.cli.console import (
    DEFAULT_DIR,
    DirOption,
    JsonOption,
    NodeOption,
    SeedOption,
    SpeedOption,
    WrongOption,
    doors_of,
    execute,
    names_of_doors,
    print_json,
    say,
    say_beside,
    seconds_given,
)
from node.cli.costs import cost_lines, tokens_text
from node.cli.reasons import in_table, where_all_is
from node.cli.shortcomings import OUT_OF_REACH, merge_line, shortcomings, told_in_full, unmerged
from node.hiding import hide_from_programs
from node.model.knobs import ModelKnobs

if TYPE_CHECKING:
    from node.lab.door import Doors
    from node.lab.prediction import Planned
    from protocol.jobs import ClaimMode, Job

DEFAULT_JOB = "mathutils_p05"


class Claims(StrEnum):
    """How work is given out; `protocol.jobs.ClaimMode` without importing it for --help."""

    lease = "lease"
    raft = "raft"
    assigned = "assigned"
    leader = "leader"


AgentOption = Annotated[
    str,
    typer.Option(
        help="Agent of tasks that name none: simulated, or openai if OPENAI_BASE_URL is set."
    ),
]
ClonesOption = Annotated[
    int | None,
    typer.Option(help="Idle nodes race slow tasks, so many on each; the job file's by default."),
]
AfterOption = Annotated[
    str,
    typer.Option(
        metavar="p90|20s",
        help="With --clones: race what takes longer than 90 of 100 attempts, or than 20 s; p0: "
        "at once.",
    ),
]
ClaimsOption = Annotated[
    Claims | None,
    typer.Option("--claims", help="How work is given out; the job file's by default."),
]


def run(
    job: Annotated[
        str, typer.Argument(help="A packaged list, a .yaml or .json file.")
    ] = DEFAULT_JOB,
    nodes: Annotated[int, typer.Option("-n", "--nodes", help="How many processes.")] = 5,
    claims: ClaimsOption = None,
    clones: ClonesOption = None,
    after: AfterOption = "p90",
    agent: AgentOption = "",
    kill_leader_at: Annotated[
        str, typer.Option(metavar="30%", help="kill -9 the leader at this share of accepted tasks.")
    ] = "",
    fault: Annotated[
        list[str] | None,
        typer.Option(help="kill-followers:2@50%, kill-all@40%, stop:20s@30%, cut:2:10s@40%."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where the files go; output/JOB by default.")
    ] = None,
    speed: SpeedOption = 4.0,
    seed: SeedOption = 1,
    model: Annotated[
        str, typer.Option(help="Whose latencies it has: gpt, claude or gemini.")
    ] = "gpt",
    wrong: WrongOption = 0.0,
    within: Annotated[
        str, typer.Option(metavar="2h", help="How long it may take until it is given up.")
    ] = "30m",
    keep: Annotated[Path | None, typer.Option(help="Keep the team's folder (logs) here.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Start a team, do a job, print the agreed result, stop the team. What it took is told beside
    what was planned, if every task asks a model and the job has succeeded."""
    from node.cli.progress import RunDisplay, print_outcome
    from node.lab.cluster import ModelOptions, check_size
    from node.lab.output import check_output_folder
    from node.lab.run_job import RunOptions, run_job
    from node.lab.schedule import Fault, FaultKind, percentage
    from protocol.errors import InvalidJob

    try:
        ModelKnobs(model=model, seed=seed, speed=speed, wrong=wrong)
    except ValueError as wrong_knob:
        raise typer.BadParameter(str(wrong_knob)) from None
    check_size(nodes)
    prepared = prepare(job, claims, agent, clones, after)
    if nodes == 1 and (fault_found := _why_not_alone(prepared)):
        raise InvalidJob(f"{fault_found}: use -n 2 or more, or leave out 'verify_by'")
    _warn_of_few(prepared, nodes)
    faults = [Fault.parse(text) for text in fault or ()]
    if kill_leader_at:
        faults.append(Fault(FaultKind.KILL_LEADER, percentage(kill_leader_at)))
    output = out if out is not None else Path("output") / prepared.id
    options = RunOptions(
        nodes=nodes,
        faults=tuple(faults),
        output=output,
        model=ModelOptions(speed=speed, seed=seed, model=model, wrong=wrong),
        folder=keep,
        timeout_s=seconds_given(within, "--within"),
    )
    check_output_folder(output)
    hide_from_programs()
    with RunDisplay(quiet=as_json) as display:
        outcome = execute(run_job(prepared, options, display.show))
    if as_json:
        print_json(outcome.as_json())
    else:
        print_outcome(outcome)
    raise typer.Exit(0 if outcome.is_good else 1)


def _why_not_alone(job: Job) -> str:
    """What a team of one node cannot do of it; empty if it can do all."""
    from node.jobfile import needs_witness

    if task := needs_witness(job):
        return f"task {task!r} has verify_by: other, but one node has no other to run its check"
    return ""


def _warn_of_few(job: Job, nodes: int) -> None:
    """Say which tasks want more independent answers than there are nodes to give them."""
    wanting = [task for task in job.tasks if task.quorum.of > nodes]
    if wanting:
        most = max(wanting, key=lambda task: task.quorum.of)
        what = f"task {most.id!r} wants {most.quorum.of} independent answers"
        more = f" ({len(wanting) - 1} more like it)" if len(wanting) > 1 else ""
        has = f"{nodes} node{'s' * (nodes != 1)}"
        print(f"warning: {what}, and of {has} some will answer twice{more}", file=sys.stderr)


def prepare(
    source: str, claims: Claims | None, agent: str, clones: int | None = None, after: str = "p90"
) -> Job:
    """Read and check a job, say what should be known of it, and give it an id of its own."""
    from node import jobfile
    from node.agents.backends import check_backends, default_agent
    from protocol.job_rules import warnings_of
    from protocol.jobs import ClaimMode

    found = jobfile.read(source, agent or default_agent())
    check_backends(found)
    mode: ClaimMode | None = ClaimMode(claims.value) if claims else None
    speculation = None if clones is None else jobfile.speculation(clones, after)
    prepared = jobfile.with_fresh_id(found, mode, speculation)
    for warning in (*warnings_of(prepared), *jobfile.notes_on(prepared)):
        print(f"warning: {warning}", file=sys.stderr)
    return prepared


def submit(
    job: Annotated[str, typer.Argument(help="A packaged list, a .yaml or .json file.")],
    claims: ClaimsOption = None,
    clones: ClonesOption = None,
    after: AfterOption = "p90",
    agent: AgentOption = "",
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for the end; exit 1 if it fails.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with the latest job of this name: attach while it runs; if it failed, "
            "keep what was accepted for tasks that have not changed.",
        ),
    ] = False,
    folder: DirOption = Path(DEFAULT_DIR),
    node: NodeOption = "",
    as_json: JsonOption = False,
) -> None:
    """Give a job to a running team. With --wait, what it took is told beside what was planned, if
    every task asks a model and the job has succeeded."""
    from node.lab.following import submit as submit_and_tell

    prepared = prepare(job, claims, agent, clones, after)
    doors = doors_of(folder, node)
    earlier = _latest_of(doors, prepared.name) if resume else None
    lacks = _why_not_alone(prepared)
    counts = wait or lacks or any(task.quorum.of > 1 for task in prepared.tasks)
    alive = execute(doors.get("/v1/status"))["alive"] if counts else 0
    begun = time.monotonic()
    if earlier and not (earlier["finished"] and not earlier["succeeded"]):
        job_id = str(earlier["id"])
        say(_instead_of_submitting(earlier), file=sys.stderr)
    else:
        resumed = replace(prepared, resumes=earlier["id"] if earlier else "")
        if lacks and alive == 1:
            lacks = f"{lacks}: the task will wait until another joins the team"
            print(f"warning: {lacks}", file=sys.stderr)
        if alive:
            _warn_of_few(prepared, alive)
        job_id = execute(submit_and_tell(doors, resumed, say_beside))
        taken = view_of(doors, job_id)["resumed"] if earlier else None
        for line in _taken_over(taken) if taken else ():
            say(line, file=sys.stderr)
    view = _followed(prepared, job_id, doors, folder, as_json) if wait else None
    took_s = round(time.monotonic() - begun, 3)
    planned = None
    if view is not None and view["succeeded"] and earlier is None:  # the whole job was done anew
        planned = _planned(prepared, alive, folder, node)
    if as_json:
        said = {"planned": asdict(planned) if planned else None, "took_s": took_s}
        print_json({**view, **said} if view else {"job": job_id})
    else:
        say(job_id if view is None else _job_line(view))
        for line in _why_failed(view) if view else ():
            say(line)
        for line in _beside_plan(planned, took_s, view) if view and planned else ():
            say(line)
        for line in _costs(view) if view else ():
            say(line)
    if view is not None and not view["succeeded"]:
        raise typer.Exit(1)


def _followed(job: Job, job_id: str, doors: Doors, folder: Path, as_json: bool) -> dict[str, Any]:
    """The job's view at its end. Until then it is shown how it goes on, as by `run`, but on
    standard error. If the door that was named goes away, the others of its team serve as well."""
    from node.cli.progress import RunDisplay
    from node.lab.following import Following, doors_to_follow, follow_to_end

    names = names_of_doors(folder)
    others = names if not names.keys().isdisjoint(doors.addresses) else ()
    following = Following(job, job_id, doors_to_follow(doors, [*others]), folder)
    with RunDisplay(quiet=as_json, opening=f"{job_id} is submitted", beside=True) as display:
        return execute(follow_to_end(following, names, display.show, display.tell))


def _planned(job: Job, alive: int, folder: Path, node: str) -> Planned | None:
    """What was to be expected of a running team of so many; of the one in the folder it is known
    how its simulated model behaves."""
    from node.lab.cluster import Cluster
    from node.lab.prediction import planned_for

    options = None if node else Cluster.load(folder).model.options
    return planned_for(job, alive, options)


def _beside_plan(planned: Planned, took_s: float, view: dict[str, Any]) -> Iterator[str]:
    from node.lab.prediction import comparison

    return comparison(planned, took_s, view["spent"]["tokens_in"] + view["spent"]["tokens_out"])


def _taken_over(resumed: dict[str, Any]) -> Iterator[str]:
    """What of an earlier job counts, and what is done anew and why."""
    kept, anew = resumed["kept"], resumed["anew"]
    yield f"goes on with {resumed['job']}: {len(kept)} taken over, {len(anew)} done anew"
    yield from (f"  taken over: {task}" for task in kept)
    yield from (f"  done anew: {task}: {why}" for task, why in anew.items())


def _instead_of_submitting(earlier: dict[str, Any]) -> str:
    """Why an edited job file changes nothing."""
    if earlier["finished"]:
        became = "has succeeded, so there is nothing to resume"
    else:
        became = "still runs, and this follows it"
    return (
        f"note: {earlier['id']} {became}; nothing was submitted (to do what the file says now, "
        "leave out --resume)"
    )


def _latest_of(doors: Doors, name: str) -> dict[str, Any] | None:
    """The latest job of this name, if there is one."""
    rows = [row for row in execute(doors.get("/v1/jobs")) if row["name"] == name]
    return rows[-1] if rows else None


def tasks(
    job: Annotated[str, typer.Argument(help="A job's id; the latest if left out.")] = "",
    folder: DirOption = Path(DEFAULT_DIR),
    node: NodeOption = "",
    as_json: JsonOption = False,
) -> None:
    """The tasks of a job: status, holder, result."""
    view = view_of(doors_of(folder, node), job)
    if as_json:
        print_json(view)
        return
    say(_job_line(view))
    for task in view["tasks"]:
        who = task["accepted"]["name"] if task["accepted"] else ",".join(task["holders"])
        extras = []
        if task["failures"]:
            extras.append(f"{len(task['failures'])} failed: {task['failures'][-1]['reason']}")
        late = [answer["name"] for answer in task["late"] if not answer["spare"]]
        spare = [answer["name"] for answer in task["late"] if answer["spare"]]
        extras += [f"late: {', '.join(late)}"] if late else []
        extras += [f"not needed: {', '.join(spare)}"] if spare else []
        if task["abandoned"]:
            extras.append(in_table(task["abandoned"]))
        status = _status_of(task, view["finished"])
        say(f"  {task['id']:<28} {status:<12} {who:<8} {'; '.join(extras)}".rstrip())
    for sibling in view["siblings"]:
        names = ", ".join(version["name"] for version in sibling["versions"])
        say(f"  siblings of {sibling['path']}: {names}")
    for merge in view["merges"]:
        say(f"  {merge_line(merge)}")
    for line in _where_all_is(view):
        say(line)
    for line in _costs(view):
        say(line)


def _status_of(task: dict[str, Any], is_over: bool) -> str:
    """In one word; of a job that is over nothing waits any more."""
    is_open = not task["accepted"] and not task["abandoned"]
    return OUT_OF_REACH if is_over and is_open else str(task["status"])


def _costs(view: dict[str, Any]) -> Iterator[str]:
    """Tokens and money, if any were used."""
    spent = view["spent"]
    if spent["tokens_in"] + spent["tokens_out"]:
        yield tokens_text(spent)
    yield from cost_lines(spent, view["budget"])


def view_of(doors: Doors, job: str, with_files: bool = False) -> dict[str, Any]:
    """The job's view; without an id that of the latest job, or the latest that writes files."""
    from node.lab.door import DoorError, route

    if not job:
        jobs = execute(doors.get("/v1/jobs"))
        jobs = [row for row in jobs if row["files"] or not with_files]
        if not jobs:
            raise DoorError(
                "NotFound", "this team has no job yet: give it one with 'quorate submit'"
            )
        job = jobs[-1]["id"]
    view: dict[str, Any] = execute(doors.get(route("jobs", job)))
    return view


def _why_failed(view: dict[str, Any]) -> Iterator[str]:
    """Which tasks have no result, and which files nobody could merge."""
    for task, what in shortcomings(view["tasks"]):
        yield f"  {task} {what}"
    yield from (f"  {line}" for line in unmerged(view["merges"]))
    yield from _where_all_is(view)


def _where_all_is(view: dict[str, Any]) -> Iterator[str]:
    """Where to read on, if a reason was cut short."""
    if task := told_in_full(view["tasks"], view["merges"]):
        yield where_all_is(task, view["id"])


def _job_line(view: dict[str, Any]) -> str:
    done = sum(task["status"] == "accepted" for task in view["tasks"])
    state = "running"
    if view["finished"]:
        state = "succeeded" if view["succeeded"] else "failed"
    outcome = f", outcome {view['outcome'][:16]}" if view["outcome"] else ""
    return f"{view['id']}: {state}, {done} of {len(view['tasks'])} accepted{outcome}"
