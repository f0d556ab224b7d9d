"""Real processes on loopback: a team is started, hurt, stopped, and started again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import quorate, quorate_here
from live_team import FAST, started

from node import jobfile
from node.lab.cluster import PYTHON, Cluster
from node.lab.door import Door, DoorError, Doors
from node.lab.outcome import Outcome
from node.lab.run_job import Run, RunOptions, run_job
from node.lab.schedule import Fault
from protocol.codec import OLDEST_VERSION, VERSION
from protocol.jobs import ClaimMode, Job, Task


def run_list(name: str, nodes: int, *faults: str) -> Outcome:
    job = jobfile.with_fresh_id(jobfile.read(name, "simulated"))
    options = RunOptions(
        nodes=nodes, faults=tuple(map(Fault.parse, faults)), model=FAST, timeout_s=120.0
    )
    return asyncio.run(run_job(job, options))


def test_the_job_is_finished_without_its_leader() -> None:
    outcome = run_list("mathutils_p05", 3, "kill-leader@30%")
    assert outcome.is_good, outcome
    assert len(outcome.digests) == 2
    assert "kill-leader" in outcome.faults[0]


def test_accepted_results_survive_the_death_of_everybody() -> None:
    outcome = run_list("mathutils_p05", 3, "kill-all@40%")
    assert outcome.is_good, outcome
    indexes = [task["accepted"]["index"] for task in outcome.tasks]
    assert len(set(indexes)) == 20
    assert len(outcome.digests) == 3


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Cluster]:
    yield from started(tmp_path / "team", 3, allow_faults=True)


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A team for all tests that leave it whole."""
    yield from started(tmp_path_factory.mktemp("lasting") / "team", 3, allow_faults=True)


@pytest.mark.parametrize("claims", ClaimMode, ids=str)
async def test_three_processes_do_a_list_and_agree_in_every_claim_mode(
    claims: ClaimMode, lasting: Cluster
) -> None:
    job = jobfile.with_fresh_id(jobfile.read("mathutils_p09", "simulated"), claims)
    run = Run(job, RunOptions(nodes=3, model=FAST, timeout_s=120.0), lasting)
    outcome = await run.execute(lambda: None)
    assert outcome.is_good, outcome
    assert len(outcome.digests) == 3
    assert len(outcome.checks) == 20
    assert sum(outcome.done_by.values()) == 20


def slow_job(job_id: str) -> Job:
    task = Task("t", "", writes=("t.txt",), agent="command", program="echo $QUORATE_NODE; sleep 1")
    return Job(job_id, job_id, (task,))


async def until_finished(door: Door, job_id: str) -> dict[str, object]:
    async with asyncio.timeout(60):
        return await Doors([door.address], door.token).await_end(job_id)


async def test_garbage_at_the_doors_is_refused_and_harms_nobody(lasting: Cluster) -> None:
    node = lasting.nodes[0]
    for address in (node.peer, node.door):
        host, _, port = address.partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(os.urandom(4096) + b"\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            await writer.drain()
            await asyncio.wait_for(reader.read(), timeout=10)
        writer.close()
    async with lasting.door(node) as opened:
        for content in ([], {"drop": 7}, {"loss": "much"}):
            with pytest.raises(DoorError) as caught:
                await opened.post("/v1/faults", content)
            assert caught.value.kind == "BadRequest"
        with pytest.raises(DoorError, match="expected a mapping"):
            await opened.post("/v1/jobs", "nonsense")
        assert (await opened.get("/healthz"))["ok"]


async def status_where(team: Cluster, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The first status of any node for which something holds."""
    async with asyncio.timeout(60):
        while True:
            for status in await team.doors().gather("/v1/status"):
                if status and holds(status):
                    return dict(status)
            await asyncio.sleep(0.05)


async def test_what_is_said_of_a_node_is_known_everywhere(lasting: Cluster) -> None:
    await status_where(lasting, lambda s: s["alive"] == 3)
    first, _, third = lasting.nodes
    done = quorate("tag", "role=gpu", "rack=7", "--dir", "team", folder=lasting.folder.parent)
    assert done.stdout == "role=gpu rack=7\n", done.stderr
    async with lasting.door(third) as door, asyncio.timeout(10):
        while True:
            members = {row["name"]: row for row in await door.get("/v1/members")}
            if members[first.name]["tags"]:
                break
            await asyncio.sleep(0.05)
        assert members[first.name]["tags"] == {"role": "gpu", "rack": "7"}
        assert {row["protocol"] for row in members.values()} == {f"{OLDEST_VERSION}-{VERSION}"}
        assert [row["features"] for row in members.values()] == [[], [], []]  # of `--preset local`
    done = quorate("announce", "hello", "--dir", "team", folder=lasting.folder.parent)
    assert done.returncode == 0
    status = await status_where(
        lasting, lambda s: s["name"] == third.name and first.name in s["store"]["lag_ms"]
    )
    assert status["membership"]["unreached"] == []
    assert status["store"]["refused"] == {}


async def test_a_minority_answers_that_it_may_have_happened_and_accepts_nothing(
    lasting: Cluster,
) -> None:
    doors = [lasting.door(node) for node in lasting.nodes]
    async with asyncio.timeout(30):
        while True:
            statuses = await lasting.doors().gather("/v1/status")
            if all(s and s["leader"] and len(s["voters"]) == 3 for s in statuses):
                break
            await asyncio.sleep(0.05)
    apart = next(at for at, s in enumerate(statuses) if s["role"] != "leader")
    ids = [status["node"] for status in statuses]
    for at, door in enumerate(doors):
        others = [node for other, node in enumerate(ids) if (other == apart) != (at == apart)]
        async with door as opened:
            await opened.post("/v1/faults", {"drop": others})
    majority = doors[1 if apart == 0 else 0]
    async with doors[apart] as opened:
        asking = asyncio.create_task(opened.submit(slow_job("minority")))
        async with majority as other:
            await other.submit(slow_job("majority"))
        await until_finished(majority, "majority")
        with pytest.raises(DoorError) as caught:
            await asking
    assert caught.value.kind == "TimedOut"
    assert "may still happen" in str(caught.value)
    async with doors[apart] as opened:
        with pytest.raises(DoorError, match="knows no job 'majority'"):
            await opened.get("/v1/jobs/majority")
        assert (await opened.get("/v1/status"))["trouble"]["isolated"], "since long before"
    for door in doors:
        async with door as opened:
            await opened.post("/v1/faults", {})
    there = await until_finished(majority, "majority")
    here = await until_finished(doors[apart], "majority")
    assert here["outcome"] == there["outcome"], "after the cut everybody knows the same"


def test_up_outlives_its_terminal_and_down_stops_exactly_what_it_started(tmp_path: Path) -> None:
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    try:
        done = quorate("up", "-n", "3", "--speed", "50", "--json", folder=tmp_path)
        assert done.returncode == 0, done.stderr
        pids = [node["pid"] for node in json.loads(done.stdout)["nodes"]]
        assert all(os.getsid(pid) != os.getsid(0) for pid in pids), "no terminal can end them"
        done = quorate("submit", "mathutils_p09", "--wait", folder=tmp_path)
        assert (done.returncode, "succeeded, 20 of 20" in done.stdout) == (0, True), done.stderr
        assert "\nplanned " in done.stdout, "as quick as the team's model was told to be"
        assert "accepted" in quorate_here("tasks", folder=tmp_path).stdout
        assert quorate_here(
            "ask", "How many voters of five must agree?", folder=tmp_path
        ).stdout.strip()
        done = quorate_here("get", "--out", "files", folder=tmp_path)
        assert (tmp_path / "files" / "add.py").exists(), done.stderr
        assert "JobFinished" in quorate_here("logs", folder=tmp_path).stdout
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        assert quorate_here("ps", folder=tmp_path).returncode == 1
        assert quorate("up", folder=tmp_path).returncode == 0
        tasks = json.loads(quorate("tasks", "--json", folder=tmp_path).stdout)
        assert tasks["finished"], "what was accepted is still accepted"
        assert "running" in quorate_here("ps", folder=tmp_path).stdout
        assert "stopped n1, n2, n3" in quorate("down", folder=tmp_path).stdout
        assert bystander.poll() is None, "a stranger's process is left alone"
    finally:
        quorate("down", folder=tmp_path)
        bystander.kill()
        bystander.wait()


async def test_a_leader_hands_over_and_another_leaves_in_good_order(team: Cluster) -> None:
    first = await status_where(team, lambda s: s["role"] == "leader" and len(s["voters"]) == 3)
    entry = {node.name: node for node in team.nodes}
    other = next(name for name in entry if name != first["name"])
    third = next(name for name in entry if name not in (first["name"], other))
    async with team.door(entry[third]) as door:
        for _ in range(2):  # the second time there is nothing to do
            assert (await door.post("/v1/transfer", {"to": other}))["leader_name"] == other
            await status_where(team, lambda s: s["name"] == third and s["leader_name"] == other)
    async with team.door(entry[first["name"]]) as door:
        assert (await door.put("/v1/registers/k", b"v"))["revision"] == 1
    async with team.door(entry[other]) as door:
        await door.post("/v1/leave", {})
    rest = await status_where(
        team, lambda s: s["role"] == "leader" and s["name"] != other and len(s["voters"]) == 1
    )
    assert rest["why_no_leader"] == []
    async with team.door(entry[rest["name"]]) as door:
        assert await door.get_bytes("/v1/registers/k") == b"v"
    log = (team.data_dir(entry[other]) / "node.log").read_text()
    assert "TransferBegan" in log, "who left led, and handed over first"


def test_a_team_that_lost_its_majority_is_rescued_from_one_node(tmp_path: Path) -> None:
    def told(*arguments: str) -> dict[str, Any]:
        done = quorate_here(*arguments, "--json", folder=tmp_path)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    try:
        done = quorate("up", "-n", "3", "--speed", "50", "--json", folder=tmp_path)
        nodes = json.loads(done.stdout)["nodes"]
        assert quorate_here("register", "k", "--set", "v", folder=tmp_path).stdout == "revision 1\n"
        assert "leader n" in quorate_here("status", folder=tmp_path).stdout
        assert quorate("rescue", "--node", "n3", "--yes", folder=tmp_path).returncode == 1
        for node in nodes[:2]:
            os.kill(node["pid"], signal.SIGKILL)
        while not any("n1 and n2 failed" in why for why in told("status")["why_no_leader"]):
            time.sleep(0.05)
        done = quorate_here("status", folder=tmp_path)
        assert (done.returncode, "no leader" in done.stdout) == (1, True)
        assert "1 of 3 voters can vote, and it takes 2: n1 and n2 failed" in done.stdout
        done = quorate_here("rescue", "--node", "n3", folder=tmp_path)
        assert (done.returncode, "--confirm" in done.stderr) == (2, True), "nobody confirmed it"
        assert quorate_here("rescue", "--node", "n3", "--yes", folder=tmp_path).returncode == 0
        assert quorate_here("register", "k", folder=tmp_path).stdout == "v"
        assert quorate("up", folder=tmp_path).returncode == 0
        while len(told("status")["voters"]) < 3:
            time.sleep(0.05)
        assert told("status")["epoch"] == 1
        assert quorate_here("register", "k", "--node", "n1", folder=tmp_path).stdout == "v"
    finally:
        quorate("down", folder=tmp_path)


# -- one node, told something impossible ---------------------------------------------------------


def start_node(folder: Path, *arguments: str, cluster: str = "test") -> subprocess.Popen[str]:
    """A node in the foreground, as `quorate node` runs it."""
    command = [*PYTHON, "node.process", "--data-dir", str(folder)]
    command += ["--cluster", cluster, "--preset", "local", "--listen", "127.0.0.1:0", *arguments]
    environment = {**os.environ, "QUORATE_SECRET": "a secret of enough length"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def found_and_stop(folder: Path) -> None:
    node = start_node(folder, "--found")
    assert node.stdout is not None
    assert "listens for nodes" in node.stdout.readline()
    node.send_signal(signal.SIGTERM)
    node.communicate(timeout=20)
    assert node.returncode == 0


def refused(node: subprocess.Popen[str]) -> str:
    _, errors = node.communicate(timeout=30)
    assert node.returncode == 2, errors
    assert len(errors.strip().splitlines()) == 1, errors
    return errors


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        errors = refused(start_node(tmp_path, "--found", "--door", f"127.0.0.1:{port}"))
    assert str(port) in errors
    assert "in use" in errors


def test_a_data_directory_of_another_cluster_is_refused(tmp_path: Path) -> None:
    found_and_stop(tmp_path)
    errors = refused(start_node(tmp_path, "--found", cluster="elsewhere"))
    assert "test" in errors
    assert "elsewhere" in errors


def test_a_damaged_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    found_and_stop(tmp_path)
    journal = tmp_path / "journal.db"
    with contextlib.closing(sqlite3.connect(journal)) as database:
        database.execute("pragma wal_checkpoint(truncate)")
    content = bytearray(journal.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)  # all but the first page
    journal.write_bytes(content)
    errors = refused(start_node(tmp_path, "--found"))
    assert "journal.db" in errors
    assert journal.read_bytes() == content


def test_an_unreachable_seed_is_reported_and_called_again(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        seed = f"127.0.0.1:{closed.getsockname()[1]}"
    node = start_node(tmp_path, "--join", seed)
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            log = tmp_path / "node.log"
            if log.exists() and log.read_text().count("SeedUnreachable") >= 2:
                break
            time.sleep(0.05)
        assert node.poll() is None, "it keeps trying"
        assert seed in (tmp_path / "node.log").read_text()
        assert (tmp_path / "node.log").read_text().count("SeedUnreachable") >= 2
    finally:
        node.send_signal(signal.SIGTERM)
        said, errors = node.communicate(timeout=20)
    assert f"joins {seed}" in said
    assert f"warning: the seed {seed} does not answer" in errors


def test_a_seed_without_a_port_is_called_with_the_one_that_was_assumed(tmp_path: Path) -> None:
    node = start_node(tmp_path, "--join", "nowhere.invalid")
    assert node.stdout is not None
    try:
        assert "joins nowhere.invalid:7400" in node.stdout.readline()
    finally:
        node.send_signal(signal.SIGTERM)
        node.communicate(timeout=20)


def test_a_job_is_cancelled_and_its_agents_are_stopped(lasting: Cluster) -> None:
    """What was accepted stays, and is taken over by who resumes it."""
    folder = lasting.folder.parent
    pid = folder / "pid"
    long = f"echo $$ > {pid}.new; mv {pid}.new {pid}; exec sleep 613"
    tasks = [
        {"id": "done", "agent": "command", "run": "echo 1 > done.txt", "writes": ["done.txt"]},
        {"id": "long", "agent": "command", "run": long, "needs": ["done"]},
    ]
    (folder / "survey.json").write_text(json.dumps({"job": "survey", "tasks": tasks}))
    submitted = quorate("submit", "survey.json", "--dir", "team", folder=folder)
    assert submitted.returncode == 0, submitted.stderr
    wait_until(pid.exists)
    done = quorate("cancel", "--reason", "enough", "--dir", "team", folder=folder)
    assert "1 of 2 tasks are accepted and kept" in done.stdout, done.stderr
    agent = Path("/proc") / pid.read_text().strip()
    wait_until(lambda: not agent.exists())
    told = quorate("tasks", "--dir", "team", folder=folder)
    assert "cancelled: enough" in told.stdout
    again = quorate("cancel", "--dir", "team", folder=folder)
    assert again.returncode == 1
    assert "is going on here" in again.stderr


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
